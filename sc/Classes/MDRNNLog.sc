// A log of what was played: a line for each event, as "neurig dataset" reads it:
// 2026-09-26T10:00:00.500000,interface,0.4724,0.25      who played: interface (the player) or rnn (the network)
MDRNNLog {
	var <path, <dimension;
	var file, receiver, clocks;

	// path: a folder, which gets a new file, or a file, to which lines are added
	*new { |path, dimension|
		path = (path ?? { thisProcess.platform.recordingsDir.mkdir; thisProcess.platform.recordingsDir }).asString;
		path = path.standardizePath.absolutePath;
		if(File.type(path) == \directory) {
			path = path +/+ "%-%d-mdrnn.log".format(Date.getDate.format("%Y-%m-%dT%H-%M-%S"), dimension)
		};
		^super.newCopyArgs(path, dimension).init
	}

	init {
		file = File(path, "a");
		if(file.isOpen.not) { Error("MDRNNLog: % can't be written".format(path)).throw };
		clocks = IdentityDictionary.new
	}

	// writes what the units on a slot send
	listen { |server, slot|
		receiver = OSCFunc({ |message|
			var node, who, seconds, fraction;
			#node, who, seconds, fraction = message[[1, 3, 4, 5]];
			this.add(who != 0, message.drop(6), seconds + fraction, node)
		}, '/mdrnn', server.addr, argTemplate: [nil, slot]).permanent_(true)
	}

	// seconds: by the clock of the one who plays (nil: this machine's), so that the steps in the log are those that were
	// played, whatever the network did to the messages
	add { |isPlayer, values, seconds, player = \here|
		var clock, day, line;
		if(file.isNil) { ^this };
		if(values.size != (dimension - 1)) {
			Error("MDRNNLog: % values in a log of dimension %".format(values.size, dimension)).throw
		};
		seconds = seconds ?? { Main.elapsedTime };
		clock = clocks[player];
		day = clock !? { clock.seconds + seconds - clock.began };
		if(day.isNil or: { day < 0 } or: { day >= 86400 }) {  // its first event, or another day
			clock = this.prClock(seconds);
			clocks[player] = clock;
			day = clock.seconds
		};
		line = clock.date ++ this.prTime(day) ++ (if(isPlayer) { ",interface" } { ",rnn" });
		values.do { |value| line = line ++ "," ++ value.round(1e-7) };
		file.write(line ++ "\n");  // at once and in one piece
		file.flush
	}

	close {
		receiver.free;
		file.close;
		file = nil
	}

	prClock { |seconds|
		var now = Date.getDate;
		^(date: now.format("%Y-%m-%dT"), began: seconds,
			seconds: now.hour * 3600 + (now.minute * 60) + now.second + now.rawSeconds.frac)
	}

	prTime { |day|
		var whole = day.floor.asInteger, micros = (day.frac * 1e6).floor.asInteger;
		var parts = [whole div: 3600, whole div: 60 % 60, whole % 60].collect { |part| part.asStringToBase(10, 2) };
		^parts.join(":") ++ "." ++ micros.asStringToBase(10, 6)
	}
}
