"""What many ranks bring: ours beside as many processes that do not talk, and beside other ways to make them talk."""
