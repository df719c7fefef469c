// A model in one of the server's slots. Used like a Buffer: read returns at once, the server answers when it is done.
// Abstract: its subclasses say which plugin has the slots, and what there is to tell about a model.
NeurigModel {
	classvar <numSlots = 1024, reportSize = 512, allocators, pending;  // pending: requests that are not answered yet

	var <server, <slot, <path, <info;
	var <>timeout = 10;  // seconds

	*initClass {
		allocators = IdentityDictionary.new;
		pending = List.new
	}

	*read { |server, path, action, onError|
		var slot;
		server = server ? Server.default;
		if(server.isKindOf(Server).not) {
			Error("%: % is no Server. It comes first, then the path: m = %.read(s, path)".format(this, server, this)).throw
		};
		path = path ?? { this.bundled };
		slot = this.prAllocator(server).alloc;
		if(slot.isNil) { Error("%: all slots of server '%' are in use".format(this.name, server.name)).throw };
		^super.newCopyArgs(server, slot).replace(path, action, onError)
	}

	// the path of a file that comes with neurig
	*bundled { |name|
		var quark = File.realpath(NeurigModel.filenameSymbol.asString).dirname.dirname;
		var folders = [quark, quark.dirname].collect(_ +/+ "models");  // installed, or in the repository
		var folder = folders.detect(File.exists(_)) ? folders[0];
		name = name ?? { this.prBundled };
		if(File.exists(folder +/+ name).not) { Error("%: there is no % in %".format(this.name, name, folder)).throw };
		^folder +/+ name
	}

	// what a unit has been given to play: a model of this kind, the number of a slot, or an array of these
	*prPlayable { |unit, model|
		if(model.isKindOf(SequenceableCollection) and: { model.isString.not }) {
			^model.collect { |one| this.prPlayable(unit, one) }
		};
		if(model.isKindOf(this) or: { model.isKindOf(NeurigModel).not and: { model.isValidUGenInput } }) { ^model };
		Error("%: % is no %. Read one first: m = %.read(s, %)"
			.format(unit, model, this, this, if(model.isString) { model.quote } { "path" })).throw
	}

	*prAllocator { |server|
		var ours = allocators[this], slots, first;
		if(ours.isNil) {
			ours = IdentityDictionary.new;
			allocators.put(this, ours)
		};
		if(ours[server].isNil) {
			slots = numSlots div: server.maxNumClients;
			first = slots * (server.clientID ? 0);
			ours.put(server, StackNumberAllocator(first, first + slots - 1));
			// a server that boots has empty slots, and answers nobody who has asked before
			NotificationCenter.register(server, \newAllocators, this, {
				ours.removeAt(server);
				pending.select { |request| request[\server] == server }.do { |request| request[\end].value }
			})
		};
		^ours[server]
	}

	// the plugin, what its commands begin with, and the model that is taken where none is named
	*prPlugin { ^this.subclassResponsibility(thisMethod) }
	*prCommand { |name| ^(this.prPlugin.toLower ++ "_" ++ name).asSymbol }
	*prBundled { ^this.subclassResponsibility(thisMethod) }

	// all units that play this model go on with the new one; one that can't be read changes nothing
	replace { |path, action, onError|
		if(path.isNil) { Error("%: replace needs the path of a file".format(this.class)).throw };
		path = path.asString;
		if(server.isLocal) { path = path.standardizePath.absolutePath };
		this.prRequest([this.class.prCommand(\read), this.prSlot, path], action, { |reason|
			"%: % can't be read: %".format(this.class.name, path, reason).error;
			onError.value(reason, this)
		})
	}

	query { |action, onError|
		this.prRequest([this.class.prCommand(\query), this.prSlot], action ? { this.prPost }, { |reason|
			"%: %".format(this.class.name, reason).error;
			onError.value(reason, this)
		})
	}

	// units that still play it fall silent
	free {
		if(slot.isNil) { ^"%: already freed".format(this.class.name).warn };
		server.sendMsg('/cmd', this.class.prCommand(\free), slot);
		this.class.prAllocator(server).free(slot);
		slot = path = info = nil
	}

	asUGenInput { ^this.prSlot }
	asControlInput { ^this.prSlot }

	printOn { |stream|
		stream << this.class.name << "(" <<* [server, slot, path] << ")"
	}

	prSlot {
		^slot ?? { Error("%: this model has been freed".format(this.class.name)).throw }
	}

	prPost {
		if(info.loaded.not) { ^"slot % is empty".format(slot).postln };
		"slot %: %".format(slot, info.path).postln;
		"  %, played by % units".format(this.prAbout, info.users).postln
	}

	prRequest { |command, action, onError|
		this.prAsk(command, { |report| this.prTake(report) }, action, onError)
	}

	// Sends a command whose report comes back in a buffer, made for it: the server allocates it, performs the command,
	// then sends its contents, each as the completion message of the one before. take: gets the report; gives the reason
	// of a failure, or nil.
	prAsk { |command, take, action, onError|
		var buffer, answer, request;
		if(server.serverRunning.not) {
			^onError.value("the server '%' is not running".format(server.name))
		};
		buffer = Buffer.alloc(server, reportSize, 1, { |buffer|
			['/cmd'] ++ command ++ [buffer.bufnum, ['/b_getn', buffer.bufnum, 0, reportSize]]
		});
		request = (server: server, end: {
			pending.remove(request);
			answer.free;
			onError.value("the server '%' has quit, or was started anew".format(server.name))
		});
		answer = OSCFunc({ |message|
			var reason;
			pending.remove(request);
			buffer.free;
			reason = take.value(message.drop(4));
			if(reason.isNil) { action.value(this) } { onError.value(reason) }
		}, '/b_setn', server.addr, argTemplate: [buffer.bufnum, 0]).oneShot.permanent_(true);
		pending.add(request);
		SystemClock.sched(timeout, {
			if(pending.includes(request)) {
				pending.remove(request);
				answer.free;
				buffer.free;
				onError.value("the server '%' does not answer. Perhaps it lacks the plugin %: it looks in %"
					.format(server.name, this.class.prPlugin, Platform.userExtensionDir))
			};
			nil
		})
	}

	// takes in a report (laid out in slots.h); gives the reason of a failure, or nil
	prTake { |report|
		var lines;
		if(report[0] == 0) { ^this.prText(report) };
		lines = this.prText(report).split($\n);
		info = (loaded: report[1] != 0, users: report[5].asInteger);
		if(info.loaded) { info = info.put(\path, lines[0]).putAll(this.prInfo(report[2..4], lines.drop(1))) };
		path = info[\path];
		^nil
	}

	prText { |report|
		^report.copyRange(8, 7 + report[6].asInteger).collectAs({ |byte| byte.asInteger.asAscii }, String)
	}

	// what the report's three numbers and its lines mean: an Event; and the same in words
	prInfo { |about, lines| ^this.subclassResponsibility(thisMethod) }
	prAbout { ^this.subclassResponsibility(thisMethod) }
}
