"""`tutelage corpus plan`: numbers of a build before it runs, and the sources of its estimates."""
