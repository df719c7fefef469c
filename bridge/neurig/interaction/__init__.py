"""``neurig run``: predictors that play with a player, over OSC, MIDI, serial lines and WebSockets.

===================  ==================================================================================
``config.py``        the file that it reads; ``lines.py`` finds on which line something is said
``run.py``           starts and ends it; on ``loop.py``, an event loop that is on time
``stage.py``         one predictor and what surrounds it
``performer.py``     plays a session in real time; the rig's predictors, too
``port.py``          what a way in and out has to do: ``osc.py``, ``midi.py``, ``serial.py``, ``websocket.py``
``devices.py``       makes the last three out of a config's tables
``midi_devices.py``  the process that holds the MIDI devices
``mapping.py``       MIDI messages to frames, and frames to MIDI messages
``log.py``           the log file, one line for each event
``complaints.py``    what is wrong with what comes in, said without flooding
``live.py``          what a terminal shows
===================  ==================================================================================
"""
