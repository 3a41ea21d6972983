"""What reads or writes other people's files; imported only when asked for."""
