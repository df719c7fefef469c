// A node of a rig. Its params are methods: amp.gain_(-6) sets, amp.gain_(-6, 500) gets there within 500 ms, amp.gain
// tells what the server has told last.
RigNode {
	var <rig, <name, <type, <>isMade = false, <problem, params;

	*prNew { |rig, name, type| ^super.newCopyArgs(rig, name, type) }

	// is it steered from here in vain?
	isGone { ^problem.notNil }

	// ---- Params

	set { |param, value, ms, action, onError|
		if(this.prIsThere) { rig.set(this, param, value, ms, action, onError) }
	}

	get { |param, action, onError|
		if(this.prIsThere) { rig.get(this, param, action, onError) }
	}

	// action gets a param's values whenever they change; also those of a predictor's output
	subscribe { |param, action, rate = 30, onError|
		if(this.prIsThere) { rig.subscribe(this, param, action, rate, onError) }
	}

	unsubscribe { |param, action, onError| rig.unsubscribe(this, param, action, onError) }

	// an Event with the range, the unit and the current value of each param: what the server has told last
	params { ^params !? { params.copy } ?? { () } }

	// they are methods of every object
	release { ^this.prParam(\release) }
	size { ^this.prParam(\size) }

	doesNotUnderstand { |selector ... args|
		if(selector.isSetter) { ^this.set(selector.asGetter, *args) };
		if(args.isEmpty and: { selector.asString[0].isAlpha }) { ^this.prParam(selector) };
		^super.doesNotUnderstand(selector, *args)
	}

	respondsTo { |selector| ^super.respondsTo(selector) or: { this.params.includesKey(selector.asGetter) } }

	// ---- In the rig

	connect { |to, input, action, onError|
		if(this.prIsThere) { rig.connect(this, to, input, action, onError) }
	}

	disconnect { |to, action, onError|
		if(this.prIsThere) { rig.disconnect(this, to, action, onError) }
	}

	// guitar >> amp >> out
	>> { |to|
		this.connect(to);
		^to
	}

	// a predictor's value x1, x2 … moves a param
	map { |index, node, param, low, high, action, onError|
		if(this.prIsThere) { rig.map(this, index, rig.prAddress(node, param), low, high, action, onError) }
	}

	unmap { |index, action, onError|
		if(this.prIsThere) { rig.unmap(this, index, action, onError) }
	}

	// a predictor forgets what was played
	reset { |action, onError|
		if(this.prIsThere) { rig.prRequest(rig.prAddress(this, \reset), [], action, onError) }
	}

	free { |action, onError|
		if(this.prIsThere) { rig.free(this, action, onError) }
	}

	printOn { |stream| stream << this.class.name << "(" << name << ": " << type << ")" }

	// ---- What the server has told

	prParam { |param|
		if(params.isNil) { ^nil };
		^params.at(param) !? { |of| of[\current] } ?? {
			"Rig: % (%) has no param %: it has %".format(name, type, param, params.keys.asArray.sort.join(", ")).warn;
			nil
		}
	}

	prTell { |list|
		isMade = true;
		params = ();
		list.do { |param| params.put(param[\name], param) }
	}

	prTook { |param, value|
		params !? { params.at(param) } !? { |of| of.put(\current, value) }
	}

	prGone { |text| problem = text }

	prIsThere {
		if(problem.notNil) { "Rig: % %".format(name, problem).warn };
		^problem.isNil
	}
}
