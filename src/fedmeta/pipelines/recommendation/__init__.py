"""The third experiment of the paper: which service will a user want next?"""
