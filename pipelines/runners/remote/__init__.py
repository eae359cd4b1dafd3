"""Workers on other machines: resources they can reach, packages staged for them."""
