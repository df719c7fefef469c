// A client of the rig server (neurig serve): builds and steers a rig over OSC.
// Every request is answered: an action gets the answer; what fails is posted, and goes to onError(code, text).
Rig {
	classvar <rigs, <>program;  // program: the path of the neurig command, where it is not found by itself

	var <addr, <>timeout = 5, <>onConnect, <>onDisconnect;  // timeout: seconds
	var <isConnected = false, nodes, requests, subscriptions, receiver;
	var lastHeard = -9, quitTime = -9, lastError, lastErrorTime = -9;
	var process, held;  // the server's process, where it was booted from here; requests for a server that boots

	*initClass {
		rigs = List.new;
		ShutDown.add { rigs.do { |rig| rig.prEnd } }
	}

	// one for each address: the same server is answered to by the same Rig
	*new { |addr|
		addr = addr ?? { NetAddr("127.0.0.1", 9001) };
		if(addr.isKindOf(NetAddr).not) {
			Error("Rig: % is not an address; give a NetAddr, as NetAddr(\"127.0.0.1\", 9001)".format(addr)).throw
		};
		^rigs.detect { |rig| rig.addr.matches(addr) } ?? { super.newCopyArgs(addr).init }
	}

	// starts a server on this machine; what is asked of its Rig until it is there, waits
	*boot { |config, port = 9001, options, action, onError|
		^this.new(NetAddr("127.0.0.1", port)).boot(config, options, action, onError)
	}

	init {
		nodes = IdentityDictionary.new;
		requests = List.new;
		subscriptions = IdentityDictionary.new;
		receiver = { |message, time, from| if(from.matches(addr)) { this.prReceive(message) } };
		thisProcess.addOSCRecvFunc(receiver);
		rigs.add(this);
		this.prWatch
	}

	// forgets what is under way; the rig itself stays as it is
	close {
		thisProcess.removeOSCRecvFunc(receiver);
		requests.clear;
		subscriptions.clear;
		rigs.remove(this)
	}

	// has the server still to answer something?
	isWaiting { ^requests.notEmpty or: { held.notNil } }

	// is the address one of this machine?
	isLocal { ^addr.isLocal }

	// ---- The server's process

	// the neurig command: program, in PATH, that which has installed this Quark, or the clone's that it is in; or nil
	*command {
		var quark = File.realpath(Rig.filenameSymbol.asString).dirname.dirname, note = quark +/+ "command", places;
		if(program.notNil) { ^program.standardizePath };
		places = "PATH".getenv.asString.split($:).collect(_ +/+ "neurig");
		if(File.exists(note)) { places = places.add(File.readAllString(note).stripWhiteSpace) };
		places = places.add(quark.dirname +/+ "run");
		^places.detect { |path| File.exists(path) and: { File.type(File.realpath(path)) == \regular } }
	}

	// config: the path of a .toml file, nil for an empty rig; options: more words for neurig serve, as ["--block", "128"]
	boot { |config, options, action, onError|
		var fail = { |text|
			held = nil;
			nodes.values.reject(_.isMade).do { |node| this.prRemove(node.name, "was not made: there is no server") };
			"Rig: %".format(text).warn;
			onError.value(\failed, text)
		};
		if(this.isLocal.not) { Error("Rig: % is another machine: start the server there".format(addr.ip)).throw };
		if(held.notNil) { "Rig: the server at port % is starting".format(addr.port).postln; ^this };
		held = List.new;
		{
			var command = Rig.command, ended, requests, began;
			while { process.notNil and: { isConnected.not } } { 0.05.wait };  // one that was told to end
			began = Main.elapsedTime;
			addr.sendMsg('/rig/ping');
			0.2.wait;
			if(lastHeard < began) { isConnected = false };
			case
			{ isConnected } { "Rig: a server answers at port % already".format(addr.port).postln }
			{ command.isNil } {
				fail.value("the command neurig was not found, neither in PATH nor beside %. Say where it is: "
					"Rig.program = \"/path/to/neurig\", or the file run in neurig's folder".format(Rig.filenameSymbol))
			}
			{ File.exists(command).not } { fail.value("there is no file %: see Rig.program".format(command)) }
			{
				process = ([command, "serve"] ++ (config !? { [this.prPath(config)] })
					++ ["--port", addr.port.asString] ++ options.asArray.collect(_.asString))
					.unixCmd({ |code|
						ended = code;
						process = nil;
						if(isConnected) { this.prDisconnect("the server has ended") }
					});
				while { isConnected.not and: { ended.isNil } } { addr.sendMsg('/rig/ping'); 0.1.wait };
				if(isConnected.not) { fail.value("the server did not start: neurig serve ended with %".format(ended)) }
			};
			if(isConnected) {
				requests = held;
				held = nil;
				requests.do(_.value);
				this.ping({ action.value(this) }, onError)
			}
		}.fork(AppClock)
	}

	// at the end of this sclang: the server that it has booted ends, too
	prEnd { if(process.notNil) { addr.sendMsg('/rig/quit') } }

	// Asks every second whether the server is there.
	prWatch {
		SystemClock.sched(0, {
			if(rigs.includes(this)) {
				if(isConnected and: { Main.elapsedTime - lastHeard > 4 }) {
					this.prDisconnect("it does not answer any more")
				};
				addr.sendMsg('/rig/ping');
				1
			}
		})
	}

	prDisconnect { |text|
		isConnected = false;
		"Rig: %:%: %".format(addr.ip, addr.port, text).postln;
		onDisconnect.value(this)
	}

	prConnect {
		isConnected = true;
		this.prRefresh({
			subscriptions.keysValuesDo { |address, of| this.prSubscribe(address, of) };
			onConnect.value(this)
		})
	}

	// ---- Nodes as objects

	// Each makes a node and gives it as a RigNode. args: further params and values, as [\gain, 6]; without a name it is
	// called after its type.
	input { |channel = 1, args, name| ^this.prMake(\input, [\channel, channel] ++ this.prPairs(args), name) }
	player { |file, args, name| ^this.prMake(\player, [\file, file] ++ this.prPairs(args), name) }
	gate { |threshold = -60, args, name| ^this.prMake(\gate, [\threshold, threshold] ++ this.prPairs(args), name) }
	amp { |model, args, name| ^this.prMake(\amp, [\model, model] ++ this.prPairs(args), name) }
	ir { |file, args, name| ^this.prMake(\ir, [\file, file] ++ this.prPairs(args), name) }
	gain { |gain = 0, args, name| ^this.prMake(\gain, [\gain, gain] ++ this.prPairs(args), name) }
	delay { |time = 350, args, name| ^this.prMake(\delay, [\time, time] ++ this.prPairs(args), name) }
	reverb { |size = 0.5, args, name| ^this.prMake(\reverb, [\size, size] ++ this.prPairs(args), name) }
	limiter { |ceiling = -1, args, name| ^this.prMake(\limiter, [\ceiling, ceiling] ++ this.prPairs(args), name) }
	output { |gain = 0, args, name| ^this.prMake(\output, [\gain, gain] ++ this.prPairs(args), name) }
	recorder { |file, args, name| ^this.prMake(\recorder, [\file, file] ++ this.prPairs(args), name) }
	predictor { |model, args, name| ^this.prMake(\predictor, [\model, model] ++ this.prPairs(args), name) }

	// the node of that name, or nil; all nodes
	at { |name| ^nodes[name.asSymbol] }
	nodes { ^nodes.values.asArray.sort { |a, b| a.name <= b.name } }

	// frees all nodes
	clear { this.nodes.do(_.free) }

	prMake { |type, args, name|
		args = args.clump(2).reject { |pair| pair.size == 2 and: { pair[1].isNil } }.flatten(1);
		^this.new(name ?? { this.prName(type) }, type, args)
	}

	// amp, amp2 …; what the nodes are called that are there is known once the server has answered
	prName { |type|
		var number = 2, name = type;
		if(isConnected.not and: { held.isNil }) { ^(type ++ "_" ++ 65536.rand.asHexString(4).toLower).asSymbol };
		while { nodes.includesKey(name) } { name = (type ++ number).asSymbol; number = number + 1 };
		^name
	}

	prPairs { |args| ^(args ? []).asPairs }

	prAdd { |name, type|
		if(nodes.includesKey(name).not) { nodes.put(name, RigNode.prNew(this, name, type)) };
		^nodes[name]
	}

	prRemove { |name, why| nodes.removeAt(name) !? { |node| node.prGone(why) } }

	// Asks what is there.
	prRefresh { |action|
		this.prRequest('/rig/list', [], { |lines|
			var found = lines.select { |line| line[0] == \node };
			var gone = nodes.keys - found.collect { |line| line[1] }.as(Set);
			gone.do { |name| if(nodes[name].isMade) { this.prRemove(name, "has been freed") } };
			found.do { |line| this.prAdd(line[1], line[2]) };
			this.prRefreshParams(nil, action)
		}, isQuiet: true)
	}

	prRefreshParams { |name, action|
		this.prRequest('/rig/list', [\params] ++ name, { |lines|
			var byNode = IdentityDictionary.new;
			lines.do { |line| byNode[line[1]] = byNode[line[1]].add(this.prParam(line)) };
			byNode.keysValuesDo { |name, params| nodes[name] !? { |node| node.prTell(params) } };
			action.value
		}, isQuiet: true)
	}

	prParam { |line|
		var param = ();
		[\node, \name, \low, \high, \default, \unit, \current].do { |key, i| param.put(key, line[i + 1]) };
		^param
	}

	// ---- Building, by names

	// Nodes are meant by their names or as RigNodes.

	// args: params and their values, as [\gain, 6, \model, "~/crunch.nam"] or (gain: 6)
	new { |name, type, args, action, onError|
		var node, params = this.prPairs(args).clump(2);
		if(type.isNil) { Error("Rig: a node needs a type, as new(\\lead, \\amp)").throw };
		if(params.any { |pair| pair.size < 2 }) { Error("Rig: % is not pairs of params and values".format(args)).throw };
		params = params.collect { |pair| [pair[0], this.prFile(pair[0], pair[1])] }.flatten(1);
		name = name.asSymbol;
		if(nodes.includesKey(name).not) { node = this.prAdd(name, type.asSymbol) };
		this.prRequest('/rig/new', [name, type] ++ params, { |... values|
			node = node ?? { this.prAdd(name, type.asSymbol) };
			node.isMade = true;
			this.prRefreshParams(name, { action.value(*values) })
		}, { |code, text|
			if(node.notNil) { this.prRemove(name, "was not made: " ++ text) };
			onError.value(code, text)
		});
		^nodes[name]
	}

	// it is gone at once, for another one may get its name
	free { |name, action, onError|
		this.prRequest('/rig/free', [name], { |... values|
			if(nodes[values[0].asSymbol].notNil and: { nodes[values[0].asSymbol].isMade }) {
				this.prRemove(values[0].asSymbol, "has been freed")
			};
			action.value(*values)
		}, { |code, text|
			this.prRefresh;
			onError.value(code, text)
		});
		this.prRemove(if(name.isKindOf(RigNode)) { name.name } { name.asSymbol }, "has been freed")
	}

	connect { |from, to, input, action, onError|
		this.prRequest('/rig/connect', [from, to] ++ (input !? { [input] }), action, onError)
	}

	disconnect { |from, to, action, onError| this.prRequest('/rig/disconnect', [from, to], action, onError) }

	chain { |names, action, onError|
		if(names.isKindOf(SequenceableCollection).not or: { names.isString }) {
			Error("Rig: chain takes an array of nodes, as [guitar, amp, out]").throw
		};
		this.prRequest('/rig/chain', names, action, onError)
	}

	// index: 1 for x1; address: "amp/gain"; a predicted 0 .. 1 becomes low .. high
	map { |predictor, index, address, low, high, action, onError|
		this.prRequest('/rig/map', [predictor, index, this.prAddress(address)] ++ low ++ high, action, onError)
	}

	unmap { |predictor, index, action, onError|
		this.prRequest('/rig/unmap', [predictor, index], action, onError)
	}

	save { |name, action, onError| this.prRequest('/rig/save', [name], action, onError) }

	load { |name, seconds, action, onError|
		this.prRequest('/rig/load', [name] ++ seconds, { |... values|
			this.prRefresh({ action.value(*values) })
		}, onError)
	}

	// ---- Steering

	// value: a number, a string, or an array of numbers (a predictor's input); ms: ramp
	set { |node, param, value, ms, action, onError|
		var address = this.prAddress(node, param), name, owner;
		if(value.isNil) { Error("Rig: set % % needs a value".format(node, param)).throw };
		#owner, name = address.asString.split($/).drop(2);
		value = this.prFile(name, value);
		this.prRequest(address, (if(value.isString) { [value] } { value.asArray }) ++ ms, { |... values|
			this.at(owner) !? { |object| object.prTook(name.asSymbol, values[0]) };
			if([\model, \file].includes(name.asSymbol)) { this.prRefreshParams(owner.asSymbol, { action.value(*values) }) } {
				action.value(*values)
			}
		}, onError)
	}

	get { |node, param, action, onError|
		var address = this.prAddress(node, param);
		this.prRequest(address, [], action ? { |... values| "%: %".format(address, values.unbubble).postln }, onError)
	}

	// action gets the values whenever they change, at most `rate` times a second
	subscribe { |node, param, action, rate = 30, onError|
		var address = this.prAddress(node, param);
		subscriptions[address] = (action: action, rate: rate);
		this.prSubscribe(address, subscriptions[address], onError)
	}

	prSubscribe { |address, of, onError|
		this.prRequest('/rig/subscribe', [address, of[\rate]], nil, { |code, text|
			if(code != \timeout) { subscriptions.removeAt(address) };
			onError.value(code, text)
		})
	}

	unsubscribe { |node, param, action, onError|
		var address = this.prAddress(node, param);
		subscriptions.removeAt(address);
		this.prRequest('/rig/unsubscribe', [address], action, onError)
	}

	// ---- Asking

	// action gets an Event: nodes [[name, type] …], connections [[from, to, input] …],
	// maps [[predictor, index, address, low, high] …]
	list { |action, onError|
		this.prRequest('/rig/list', [], { |lines|
			var of = { |kind| lines.select { |line| line[0] == kind }.collect { |line| line.drop(1) } };
			(action ? { this.prPostLines(lines) })
				.value((nodes: of.(\node), connections: of.(\connection), maps: of.(\map)))
		}, onError)
	}

	// action gets the names of all types of nodes
	types { |action, onError|
		this.prRequest('/rig/list', [\types], { |lines|
			(action ? { this.prPostLines(lines) }).value(lines.collect { |line| line[1] })
		}, onError)
	}

	// action gets an array of Events with node, name, low, high, default, unit, current; of: a node or a type, nil for all
	params { |of, action, onError|
		this.prRequest('/rig/list', [\params] ++ (of !? { [of] }), { |lines|
			(action ? { this.prPostLines(lines) }).value(lines.collect { |line| this.prParam(line) })
		}, onError)
	}

	// action gets the names under which rigs have been saved
	states { |action, onError|
		this.prRequest('/rig/list', [\states], { |lines|
			(action ? { this.prPostLines(lines) }).value(lines.collect { |line| line[1] })
		}, onError)
	}

	ping { |action, onError|
		this.prRequest('/rig/ping', [], action ? { |version|
			"neurig % answers at %:%".format(version, addr.ip, addr.port).postln
		}, onError)
	}

	// ends the server
	quit { |action, onError|
		this.prRequest('/rig/quit', [], { |... values|
			isConnected = false;
			quitTime = Main.elapsedTime;
			nodes.keys.do { |name| this.prRemove(name, "has ended with its server") };
			action.value(*values)
		}, onError)
	}

	// ---- Messages

	prAddress { |node, param|
		var address = if(node.isKindOf(RigNode)) { node.name } { node }.asString;
		param !? { address = address +/+ param };
		if(address.beginsWith("/rig/").not) { address = "/rig/" ++ address };
		if(node.isNil or: { address.contains(" ") } or: { address.split($/).size != 4 }) {
			Error("Rig: % is not the address of a param, as in set(\\amp, \\gain, 6)".format(address)).throw
		};
		^address.asSymbol
	}

	prRequest { |address, arguments, action, onError, isQuiet = false|
		var request, send;
		arguments = arguments.collect { |argument| this.prArgument(address, argument) };
		request = (address: address, arguments: arguments, action: action, onError: onError, lines: List.new,
			isQuiet: isQuiet);
		send = {
			requests.add(request);
			addr.sendMsg(address, *arguments);
			SystemClock.sched(timeout, {
				if(requests.includes(request)) {
					requests.remove(request);
					this.prFail(request, \timeout, "nobody answers at %:%. Is the server running? Start it with Rig.boot, "
						"or in a terminal: neurig serve".format(addr.ip, addr.port))
				};
				nil
			})
		};
		if(held.notNil and: { isQuiet.not }) { held.add(send) } { send.value }
	}

	prArgument { |address, argument|
		if(argument.isKindOf(RigNode)) { ^argument.name };
		if(argument.isKindOf(Boolean)) { ^argument.binaryValue };
		if(argument.isNumber or: { argument.isString } or: { argument.isKindOf(Symbol) }) { ^argument };
		Error("Rig: % can't take % (a name, a string or a number goes)".format(address, argument)).throw
	}

	prFile { |param, value|
		^if([\model, \file].includes(param.asSymbol)) { this.prPath(value.asString) } { value }
	}

	// A path that is there from here goes as a whole one; the server looks for others where it runs, and among the models
	// that come with neurig. One on another machine gets it as it is.
	prPath { |path|
		var folders = [thisProcess.nowExecutingPath !? { |path| path.dirname }, File.getcwd].reject(_.isNil);
		if(this.isLocal.not or: { path.isEmpty }) { ^path };
		path = path.standardizePath;
		^folders.collect(_ +/+ path).detect { |whole| path[0] != $/ and: { File.exists(whole) } } ? path
	}

	prReceive { |message|
		var address = message[0], values = message.drop(1), request;
		lastHeard = Main.elapsedTime;
		if(isConnected.not and: { lastHeard > (quitTime + 0.5) }) { this.prConnect };  // after quit some may be on their way
		case
		{ address == '/rig/done' } {
			request = this.prTake(values[0]) ?? { ^this };
			if(request[\address] == '/rig/list') { values = [values[0], request[\lines].asArray] };
			request[\action].value(*values.drop(1))
		}
		{ address == '/rig/error' } {
			request = this.prTake(values[0]) ?? { ^this };
			this.prFail(request, values[1], values[2].asString)
		}
		{ address == '/rig/list' } {
			requests.detect { |request| request[\address] == '/rig/list' } !? { |request| request[\lines].add(values) }
		}
		{
			request = requests.detect { |request| request[\address] == address and: { request[\arguments].isEmpty } };
			request !? { requests.remove(request); request[\action].value(*values) };
			subscriptions[address] !? { |subscription| subscription[\action].value(*values) }
		}
	}

	// the request that is answered: the server answers those to one address in their order
	prTake { |address|
		var request = requests.detect { |request| request[\address] == address };
		request !? { requests.remove(request) };
		^request
	}

	// the same error is posted once a second at most: a pattern may repeat a mistake a hundred times
	prFail { |request, code, text|
		var now = Main.elapsedTime, what = ([request[\address]] ++ request[\arguments]).join(" ");
		if(request[\isQuiet].not and: { [request[\address], text] != lastError or: { now > (lastErrorTime + 1) } }) {
			"Rig: %: %".format(what, text).warn;
			lastError = [request[\address], text];
			lastErrorTime = now
		};
		request[\onError].value(code, text)
	}

	prPostLines { |lines|
		if(lines.isEmpty) { "(nothing)".postln };
		lines.do { |line| line.join(" ").postln }
	}
}
