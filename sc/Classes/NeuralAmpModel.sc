// A model in one of the server's slots. Used like a Buffer: read returns at once, the server answers when it is done.
NeuralAmpModel {
	classvar <numSlots = 1024, reportSize = 512, allocators;

	var <server, <slot, <path, <info;
	var <>timeout = 10;  // seconds

	*initClass { allocators = IdentityDictionary.new }

	*read { |server, path, action, onError|
		var slot;
		server = server ? Server.default;
		slot = this.prAllocator(server).alloc;
		if(slot.isNil) { Error("NeuralAmpModel: all slots of server '%' are in use".format(server.name)).throw };
		^super.newCopyArgs(server, slot).replace(path, action, onError)
	}

	// the path of a model that comes with neurig
	*bundled { |name = "crunch.nam"|
		var folder = File.realpath(this.filenameSymbol.asString).dirname.dirname.dirname +/+ "models";
		if(File.exists(folder +/+ name).not) {
			Error("NeuralAmpModel: there is no % in %".format(name, folder)).throw
		};
		^folder +/+ name
	}

	*prAllocator { |server|
		^allocators.atFail(server) {
			var slots = numSlots div: server.maxNumClients;
			var first = slots * (server.clientID ? 0);
			var allocator = StackNumberAllocator(first, first + slots - 1);
			// a server that boots has empty slots
			NotificationCenter.register(server, \newAllocators, this, { allocators.removeAt(server) });
			allocators[server] = allocator;
			allocator
		}
	}

	// all units that play this model crossfade to the new one; one that can't be read changes nothing
	replace { |path, action, onError|
		path = path.asString;
		if(server.isLocal) { path = path.standardizePath.absolutePath };
		this.prRequest([\neuralamp_read, this.prSlot, path], action, { |reason|
			"NeuralAmpModel: % can't be read: %".format(path, reason).error;
			onError.value(reason, this)
		})
	}

	query { |action, onError|
		this.prRequest([\neuralamp_query, this.prSlot], action ? { this.prPost }, { |reason|
			"NeuralAmpModel: %".format(reason).error;
			onError.value(reason, this)
		})
	}

	// units that still play it crossfade to silence
	free {
		if(slot.isNil) { ^"NeuralAmpModel: already freed".warn };
		server.sendMsg('/cmd', \neuralamp_free, slot);
		this.class.prAllocator(server).free(slot);
		slot = path = info = nil
	}

	asUGenInput { ^this.prSlot }
	asControlInput { ^this.prSlot }

	printOn { |stream|
		stream << this.class.name << "(" <<* [server, slot, path] << ")"
	}

	prSlot {
		^slot ?? { Error("NeuralAmpModel: this model has been freed").throw }
	}

	prPost {
		if(info.loaded.not) { ^"slot % is empty".format(slot).postln };
		"slot %: %".format(slot, info.path).postln;
		"  model's rate % Hz, latency % samples, params %, played by % units"
			.format(info.rate, info.latency, info.params, info.users).postln
	}

	// Sends a command whose report comes back in a buffer, made for it: the server allocates it, performs the command,
	// then sends its contents, each as the completion message of the one before.
	prRequest { |command, action, onError|
		var buffer, answer, answered = false;
		if(server.serverRunning.not) {
			^onError.value("the server '%' is not running".format(server.name))
		};
		buffer = Buffer.alloc(server, reportSize, 1, { |buffer|
			['/cmd'] ++ command ++ [buffer.bufnum, ['/b_getn', buffer.bufnum, 0, reportSize]]
		});
		answer = OSCFunc({ |message|
			var reason;
			answered = true;
			buffer.free;
			reason = this.prTake(message.drop(4));
			if(reason.isNil) { action.value(this) } { onError.value(reason) }
		}, '/b_setn', server.addr, argTemplate: [buffer.bufnum, 0]).oneShot.permanent_(true);
		SystemClock.sched(timeout, {
			if(answered.not) {
				answer.free;
				buffer.free;
				onError.value("the server '%' does not answer. Perhaps it lacks the plugin NeuralAmp: it looks in %"
					.format(server.name, Platform.userExtensionDir))
			};
			nil
		})
	}

	// takes in a report (laid out in NeuralAmp.cpp); gives the reason of a failure, or nil
	prTake { |report|
		var ok, loaded, rate, latency, numParams, users, length, text, lines;
		#ok, loaded, rate, latency, numParams, users, length = report;
		text = report.copyRange(8, 7 + length.asInteger).collectAs({ |byte| byte.asInteger.asAscii }, String);
		if(ok == 0) { ^text };
		lines = text.split($\n);
		info = if(loaded == 0) { (loaded: false, users: users.asInteger) } {
			(loaded: true, path: lines[0], rate: rate, latency: latency.asInteger,
				params: lines.drop(1).collect(_.asSymbol), users: users.asInteger)
		};
		path = info[\path];
		^nil
	}
}
