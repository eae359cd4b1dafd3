"""`tutelage corpus plan`: what a build would do, and what that rests on."""
