"""A real vLLM on the same cores: does Limbeck keep it as busy as a bare loop does?"""
