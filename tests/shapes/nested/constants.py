"""Numbers that several files share."""

KERNEL = 3
