"""Pages, and the programs that write what is measured into them."""
