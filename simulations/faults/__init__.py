"""The fault simulator: the services' real code on virtual time, over a network and machines that fail as a seed says.

`loop` is the clock, `machines` are what a party runs on, `storage` its database, `network` what lies between. `parties`
starts the real services there, `opening` prepares what every schedule begins with. `plan` draws a schedule from its
seed, `clients` ask what it says, `world` plays it to the auditor's word. `shrinking` makes a failing schedule short and
`story` tells it; `run` plays many.
"""
