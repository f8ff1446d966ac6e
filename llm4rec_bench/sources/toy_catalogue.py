"""The invented films and books of the toy task, written for it; nothing here exists.

Six shelves of eight: a trilogy on screen, a trilogy in print, and two works that stand
alone. Works of one shelf share words, and the parts of a trilogy share names, so a text
model has something to hold on to.
"""

from __future__ import annotations

from typing import NamedTuple


class Series(NamedTuple):
    """Works by one creator on one shelf; more than one means they follow each other."""

    shelf: str
    form: str
    creator: str
    year: int
    works: tuple[tuple[str, str], ...]
    """Title and description of each, in order."""


CATALOGUE: tuple[Series, ...] = (
    Series("Seafaring", "Film", "Ilse Vandermoor", 1986, (
        ("The Salt Compass", "Captain Orla Finch steals a compass that points to the last honest "
         "sailor, and the crew of the Petrel follows her into uncharted waters."),
        ("The Salt Compass: Windward", "Orla Finch and the Petrel run before a storm and a navy "
         "that wants the compass at the bottom of the sea."),
        ("The Salt Compass: Landfall", "The voyage of the Petrel ends on an island the compass "
         "was made to hide; Orla Finch must choose a harbour."),
    )),
    Series("Seafaring", "Book", "Tomas Reyk", 1991, (
        ("A Ledger of Tides", "A harbour clerk keeps the books of drowned ships and finds one "
         "vessel entered twice."),
        ("A Ledger of Storms", "The harbour clerk goes to sea to balance the ledger, aboard the "
         "ship that should have sunk."),
        ("A Ledger of Stars", "Navigating by an old ledger, the clerk brings the twice-drowned "
         "ship home across an ocean without winds."),
    )),
    Series("Seafaring", "Film", "Amadou Keel", 1979, (
        ("Nine Knots to Marrow Bay", "A retired sailor races a freighter in a dinghy, for a bet "
         "that everyone but him has forgotten."),
    )),
    Series("Seafaring", "Book", "Petra Lindqvist", 2003, (
        ("The Lighthouse Correspondence", "Two keepers who never meet fall into a quarrel by "
         "signal lamp, thirty sea miles apart."),
    )),
    Series("Spacefaring", "Film", "Jun Hasegawa-Bell", 1994, (
        ("Orbit of Ash", "Pilot Mirela Voss carries the ashes of a planet to the colony that "
         "burned it, with an android who will not lie."),
        ("Orbit of Ember", "Mirela Voss and the android hide aboard a starship whose reactor has "
         "begun to sing."),
        ("Orbit of Flame", "The colony war reaches the home system, and Mirela Voss lights a "
         "second sun to end it."),
    )),
    Series("Spacefaring", "Book", "Dagny Orlov", 1999, (
        ("The Quiet Engine", "The mechanic of a generation starship discovers that its engine "
         "was switched off a century ago."),
        ("The Loud Planet", "The generation starship arrives at a planet that broadcasts every "
         "thought, and its mechanic cannot stop thinking."),
        ("The Empty Orbit", "With the planet silent and the starship gone, the mechanic builds "
         "an engine out of what a colony throws away."),
    )),
    Series("Spacefaring", "Film", "Rafael Nkemelu", 2008, (
        ("Forty Minutes of Air", "Three astronauts share two suits on the far side of a small "
         "moon while their orbit decays."),
    )),
    Series("Spacefaring", "Book", "Sunniva Aalto", 2011, (
        ("Customs Officer of the Ninth Moon", "An alien asks to import a single memory, and the "
         "form for it has no box."),
    )),
    Series("Mystery", "Film", "Beatrix Olander", 1989, (
        ("The Marzipan Alibi", "Inspector Quill investigates a poisoned confectioner in a "
         "village where every suspect has baked the same cake."),
        ("The Velvet Alibi", "Inspector Quill is locked in a theatre with a missing necklace, a "
         "dead understudy and eleven suspects in costume."),
        ("The Paper Alibi", "A confession arrives before the murder, and Inspector Quill has one "
         "night to find the victim."),
    )),
    Series("Mystery", "Book", "Cornelius Wray", 1996, (
        ("Death at the Seed Exchange", "Widow and detective Maud Tansy digs up a clue among the "
         "village gardeners and their prize marrows."),
        ("Death at the Bell Tower", "Maud Tansy counts thirteen strokes at midnight and asks the "
         "village ringers for their alibis."),
        ("Death at the Reading Room", "A library book is returned with a corpse, and detective "
         "Maud Tansy knows who borrowed it last."),
    )),
    Series("Mystery", "Film", "Oskar Delacroix-Muir", 2001, (
        ("Who Wound the Clock", "A detective with no memory of yesterday is hired to solve a "
         "murder that he witnessed."),
    )),
    Series("Mystery", "Book", "Yewande Farrow", 2009, (
        ("The Locksmith's Confession", "Every locked room in the city was locked by one "
         "suspect, who only ever confesses to the wrong ones."),
    )),
    Series("Kitchen comedy", "Film", "Lucia Brandt", 1998, (
        ("Too Many Soufflés", "Chef Gino Palermo inherits a restaurant that serves one dish, "
         "badly, to a critic who is in love with the waitress."),
        ("Too Many Waiters", "Gino Palermo's restaurant wins a star by mistake and hires every "
         "cousin in town to keep it."),
        ("Too Many Cooks Again", "Gino Palermo and the critic open rival kitchens in the same "
         "kitchen, and share one oven."),
    )),
    Series("Kitchen comedy", "Book", "Horace Pimm", 2002, (
        ("The Reluctant Baker", "A tax inspector audits a bakery and is paid in sourdough until "
         "he takes up the apron himself."),
        ("The Reluctant Bride of the Baker", "The inspector turned baker ices a wedding cake, "
         "then learns that the wedding is his."),
        ("The Reluctant Baker's Dozen", "Twelve apprentices and one goose lay siege to the "
         "bakery on the morning of the bread fair."),
    )),
    Series("Kitchen comedy", "Film", "Anneke Doorn", 1983, (
        ("Soup for the Mayor", "A canteen cook runs for mayor on a promise of better dumplings, "
         "and has to keep it."),
    )),
    Series("Kitchen comedy", "Book", "Dilip Marchetti", 2014, (
        ("Recipes I Have Ruined", "The memoirs of a restaurant chef whose disasters became the "
         "menu."),
    )),
    Series("Ghost story", "Film", "Niamh Corrigan-Vale", 1977, (
        ("The House on Lantern Hill", "The Abernathy family buys a haunted house whose ghost "
         "leaves polite notes about the plumbing."),
        ("Return to Lantern Hill", "The Abernathy children, grown, go back to the haunted house "
         "to find who wrote the notes."),
        ("Last Night on Lantern Hill", "The haunted house is to be torn down at dawn, and the "
         "ghost of Lantern Hill asks the Abernathys for a favour."),
    )),
    Series("Ghost story", "Book", "Leopold Strand", 1988, (
        ("The Séance Clerk", "A clerk takes the minutes at séances, and a spirit objects to the "
         "wording."),
        ("The Séance Strike", "The spirits of the city refuse to appear, and the clerk must "
         "negotiate with the dead for terms."),
        ("The Séance Archive", "Buried among the minutes of old séances, the clerk finds a "
         "haunting with his own signature."),
    )),
    Series("Ghost story", "Film", "Mireille Acheampong", 2005, (
        ("Cold Spot", "A thermostat engineer is called to a haunted cinema where one seat is "
         "always freezing."),
    )),
    Series("Ghost story", "Book", "Ezra Holloway-Finn", 1972, (
        ("What the Cellar Kept", "Letters from a vanished aunt turn up behind the cellar wall, "
         "each dated a day after the last spirit was laid."),
    )),
    Series("Mountain drama", "Film", "Kaspar Zellweger", 1982, (
        ("North Face, Winter", "Climber Hanne Roth returns to the summit that took her brother, "
         "roped to the man who cut the line."),
        ("North Face, Spring", "When the glacier gives up a rope, Hanne Roth climbs again to "
         "learn whose knot it holds."),
        ("North Face, Autumn", "Hanne Roth leads one last party above the glacier, among them "
         "the daughter of the man she blamed."),
    )),
    Series("Mountain drama", "Book", "Adaeze Thornbury", 1993, (
        ("The Valley Below", "A mountain village empties as its young leave for the valley, and "
         "the schoolmistress teaches the last pupil."),
        ("The Pass Between", "The last pupil of the mountain village smuggles letters over the "
         "pass in the snow."),
        ("The Summit Above", "Years on, the pupil carries the schoolmistress's bell up to the "
         "summit where the village can hear it."),
    )),
    Series("Mountain drama", "Film", "Bronwen Akuffo", 2012, (
        ("Avalanche Season", "Two rescuers who no longer speak keep a hut through one winter of "
         "snow above the tree line."),
    )),
    Series("Mountain drama", "Book", "Matteo Lindgren", 1985, (
        ("Altitude Sickness", "A surveyor sent to measure a summit finds it a little lower "
         "every morning."),
    )),
)  # fmt: skip
