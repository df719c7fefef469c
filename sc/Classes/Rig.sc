// A client of the rig server (neurig serve): builds and steers a rig over OSC.
// Every request is answered: an action gets the answer, an error is posted and goes to onError(code, text).
Rig {
	classvar <rigs;

	var <addr, <>timeout = 5;  // seconds
	var requests, subscriptions, receiver, lastError, lastErrorTime = 0;

	*initClass { rigs = List.new }

	// one for each address: the same server is answered to by the same Rig
	*new { |addr|
		addr = addr ?? { NetAddr("127.0.0.1", 9001) };
		if(addr.isKindOf(NetAddr).not) {
			Error("Rig: % is not an address; give a NetAddr, as NetAddr(\"127.0.0.1\", 9001)".format(addr)).throw
		};
		^rigs.detect { |rig| rig.addr.matches(addr) } ?? { super.newCopyArgs(addr).init }
	}

	init {
		requests = List.new;
		subscriptions = IdentityDictionary.new;
		receiver = { |message, time, from| if(from.matches(addr)) { this.prReceive(message) } };
		thisProcess.addOSCRecvFunc(receiver);
		rigs.add(this)
	}

	// forgets what is under way; the rig itself stays as it is
	close {
		thisProcess.removeOSCRecvFunc(receiver);
		requests.clear;
		subscriptions.clear;
		rigs.remove(this)
	}

	// has the server still to answer something?
	isWaiting { ^requests.notEmpty }

	// ---- Building

	// args: an array of params and their values, as [\gain, 6, \model, "~/crunch.nam"]
	new { |name, type, args, action, onError|
		this.prRequest('/rig/new', [name, type] ++ args, action, onError)
	}

	free { |name, action, onError| this.prRequest('/rig/free', [name], action, onError) }

	connect { |from, to, input, action, onError|
		this.prRequest('/rig/connect', [from, to] ++ (input !? { [input] }), action, onError)
	}

	disconnect { |from, to, action, onError| this.prRequest('/rig/disconnect', [from, to], action, onError) }

	chain { |names, action, onError|
		if(names.isArray.not or: { names.isString }) {
			Error("Rig: chain takes an array of nodes, as [\\guitar, \\amp, \\out]").throw
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

	load { |name, seconds, action, onError| this.prRequest('/rig/load', [name] ++ seconds, action, onError) }

	// ---- Steering

	// value: a number, a string, or an array of numbers (a predictor's input); ms: ramp
	set { |node, param, value, ms, action, onError|
		if(value.isNil) { Error("Rig: set % % needs a value".format(node, param)).throw };
		this.prRequest(this.prAddress(node, param), (if(value.isString) { [value] } { value.asArray }) ++ ms, action, onError)
	}

	get { |node, param, action, onError|
		var address = this.prAddress(node, param);
		this.prRequest(address, [], action ? { |... values| "%: %".format(address, values.unbubble).postln }, onError)
	}

	// action gets the values whenever they change, at most `rate` times a second
	subscribe { |node, param, action, rate = 30, onError|
		var address = this.prAddress(node, param);
		subscriptions[address] = action;
		this.prRequest('/rig/subscribe', [address, rate], nil, { |code, text|
			subscriptions.removeAt(address);
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
			(action ? { this.prPostLines(lines) }).value(lines.collect { |line|
				[\node, \name, \low, \high, \default, \unit, \current].collect { |key, i| [key, line[i + 1]] }
					.flatten.asEvent
			})
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
	quit { |action, onError| this.prRequest('/rig/quit', [], action, onError) }

	// ---- Messages

	prAddress { |node, param|
		var address = node.asString;
		param !? { address = address +/+ param };
		if(address.beginsWith("/rig/").not) { address = "/rig/" ++ address };
		if(node.isNil or: { address.contains(" ") } or: { address.split($/).size < 4 }) {
			Error("Rig: % is not the address of a param, as in set(\\amp, \\gain, 6)".format(address)).throw
		};
		^address.asSymbol
	}

	prRequest { |address, arguments, action, onError|
		var request;
		arguments = arguments.collect { |argument| this.prArgument(address, argument) };
		request = (address: address, arguments: arguments, action: action, onError: onError, lines: List.new);
		requests.add(request);
		addr.sendMsg(address, *arguments);
		SystemClock.sched(timeout, {
			if(requests.includes(request)) {
				requests.remove(request);
				this.prFail(request, \timeout,
					"nobody answers at %:%. Is the server running? In a terminal: neurig serve"
						.format(addr.ip, addr.port))
			};
			nil
		})
	}

	prArgument { |address, argument|
		if(argument.isKindOf(Boolean)) { ^argument.binaryValue };
		if(argument.isString and: { argument.beginsWith("~") }) { ^argument.standardizePath };
		if(argument.isNumber or: { argument.isString } or: { argument.isKindOf(Symbol) }) { ^argument };
		Error("Rig: % can't take % (a name, a string or a number goes)".format(address, argument)).throw
	}

	prReceive { |message|
		var address = message[0], values = message.drop(1), request;
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
			subscriptions[address].value(*values)
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
		if([request[\address], text] != lastError or: { now > (lastErrorTime + 1) }) {
			"Rig: % failed: %".format(what, text).error;
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
