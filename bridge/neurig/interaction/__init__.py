"""``neurig run``: predictors that play with a player, over OSC, MIDI, serial lines and WebSockets.

``config.py``       what the config file says          ``run.py``         starts and ends it all
``performer.py``    plays one session in real time     ``stage.py``       one predictor with its ports, its log, its outputs
``port.py``         what a way in and out has to do    ``osc.py``, ``midi.py``, ``serial.py``, ``websocket.py``: the ways
``mapping.py``      MIDI messages ↔ frames             ``log.py``         the log file, one line per event
``complaints.py``   bad input, said without flooding   ``live.py``        the live line
``loop.py``         an event loop that is on time
"""
