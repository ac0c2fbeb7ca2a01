"""The command line, adept-llm."""
