"""A process ready to play. Imported by the server that workers are forked from, so that none prepares anew."""

from simulations.faults.run import prepare, warm_up

prepare()
warm_up()
