// What a network plays by itself, frame after frame, without a unit and without a clock. The server predicts, in
// pieces, and a little ahead of what is asked for. A seed, inputs and temperatures give the same performance each time.
MDRNNPerformance {
	classvar <ahead = 8;  // frames

	var <model, <inputs, <>piTemp, <>sigmaTemp, <seed;
	var <frames, <problem, number, waiting, isAsking = false;

	// inputs: a frame, or an array of frames, that the network hears first
	*new { |model, inputs, piTemp = 1, sigmaTemp = 0.01, seed|
		if(model.isKindOf(MDRNNModel).not) {
			Error("%: % is not a predictor's model. Read one first: m = MDRNNModel.read(s, path)"
				.format(this, model.asCompileString)).throw
		};
		inputs = inputs.asArray;
		if(inputs.notEmpty and: { inputs[0].isKindOf(SequenceableCollection).not }) { inputs = [inputs] };
		if(inputs.flat.any { |number| number.isNumber.not }) { Error("%: inputs are made of numbers".format(this)).throw };
		^super.newCopyArgs(model, inputs, piTemp, sigmaTemp, seed ?? { 2147483647.rand }).init
	}

	init {
		frames = List.new;
		waiting = List.new;
		number = UniqueID.next
	}

	// the frame [dt, x1 …] of that number, or nil where it has not come yet; has those that follow fetched
	at { |index|
		if(index + ahead >= frames.size and: { isAsking.not } and: { problem.isNil }) { this.fetch(index + (2 * ahead)) };
		^frames[index]
	}

	// calls action with the performance as soon as there are so many frames; onError with the reason where there cannot be
	fetch { |count, action, onError|
		if(frames.size >= count) { ^action.value(this) };
		problem = nil;
		waiting.add((count: count, action: action, onError: onError));
		this.prAsk
	}

	prAsk {
		if(isAsking or: { waiting.isEmpty }) { ^this };
		isAsking = true;
		model.prPredict(number, frames.size, waiting.collect(_.at(\count)).maxItem - frames.size, this, { |fresh|
			var served;
			isAsking = false;
			frames.addAll(fresh);
			served = waiting.select { |request| request[\count] <= frames.size };
			waiting.removeAll(served);
			served.do { |request| request[\action].value(this) };
			this.prAsk
		}, { |reason|
			var failed = waiting;
			isAsking = false;
			problem = reason;
			waiting = List.new;
			"%: %".format(this.class, reason).warn;
			failed.do { |request| request[\onError].value(reason) }
		})
	}

	printOn { |stream| stream << this.class.name << "(" <<* [model, "seed" + seed] << ")" }
}
