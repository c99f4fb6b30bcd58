"""How an update is executed: step by step as torch does, or as one compiled program that was seen to do the same."""
