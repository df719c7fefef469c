// A pattern of the events that a network plays by itself: the time to the next one (dur), and its values (x1, x2 …, or
// under names of yours). The frames come from the server a little ahead.
Pmdrnn : Pattern {
	var <>model, <>inputs, <>piTemp, <>sigmaTemp, <>length, <>seed, <>timescale, <>keys;
	var performance, isTaken = false;

	*new { |model, inputs, piTemp = 1, sigmaTemp = 0.01, length = inf, seed, timescale = 1, keys|
		^super.newCopyArgs(model, inputs, piTemp, sigmaTemp, length, seed, timescale, keys).init
	}

	init {
		performance = MDRNNPerformance(model, inputs, piTemp, sigmaTemp, seed);
		if(model.numValues.notNil) { performance.at(0) }  // so that playing can begin at once
	}

	// calls action with the pattern as soon as its first frames are there: before it becomes a Score, which does not wait
	fetch { |count, action, onError|
		performance.fetch(count, { action.value(this) }, onError)
	}

	// with a seed it is always the same performance, else another one each time; what was fetched is played first
	prPerformance {
		if(seed.notNil or: { isTaken.not }) { isTaken = true; ^performance };
		^MDRNNPerformance(model, inputs, piTemp, sigmaTemp)
	}

	embedInStream { |event|
		var played = this.prPerformance, scale = timescale.asStream, index = 0, frame, factor, end = length.value;
		if(played.problem.notNil) { played.fetch(played.frames.size + 1) };  // it may be well again
		while { index < end } {
			if(event.isNil) { ^nil.yield };
			frame = played.at(index);
			if(frame.notNil) {
				factor = scale.next(event) ?? { ^event };
				event = this.prEvent(frame, factor, event).yield;
				index = index + 1
			} {
				if(played.problem.notNil) { ^event };  // it has said so
				event = this.prRest(played, event).yield
			}
		};
		^event
	}

	prEvent { |frame, factor, event|
		event = event.copy.put(\dur, frame[0] * factor);
		frame.drop(1).do { |x, i| event.put(this.prKey(i), x) };
		^event
	}

	// what is played until a frame comes; with values, which patterns that are chained to this one may need
	prRest { |played, event|
		var last = played.frames.last ?? { [0] ++ (0.5 ! (model.numValues ? 63)) };
		event = Event.silent(0.05, event).put(\type, \rest);
		last.drop(1).do { |x, i| event.put(this.prKey(i), x) };
		^event
	}

	prKey { |index| ^keys !? { keys.asArray[index] } ?? { ("x" ++ (index + 1)).asSymbol } }

	storeArgs { ^[model, inputs, piTemp, sigmaTemp, length, seed, timescale, keys] }
}
