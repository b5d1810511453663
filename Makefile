# Works with GNU make and with bmake. Everything is done by bhype/bootstrap.py.
PYTHON ?= python3

all: help

help:
	@$(PYTHON) bhype/bootstrap.py help

run demo test test-long explore bench check setup stop-vms:
	@$(PYTHON) bhype/bootstrap.py $@

.PHONY: all help run demo test test-long explore bench check setup stop-vms
