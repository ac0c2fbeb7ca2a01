"""Out of the toolkit: folders that other programs read without knowing this one."""
