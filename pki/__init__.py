"""Keys, certificates and trust: who signs what, and who is calling.

An offline root vouches for one intermediate authority per host; each intermediate vouches for the TLS
leaves and the signing keys of its own host and of no other. `identity.py` names the parties, `profiles.py`
says what each certificate contains, `trust.py` decides whether one is believed.
"""
