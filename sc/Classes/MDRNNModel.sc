// A predictor's model on the server, for MDRNN.
MDRNNModel : NeurigModel {
	var recorder;

	*prPlugin { ^"MDRNN" }
	*prBundled { ^"wander.mdrnn" }

	// how many values its player has; nil before the server has answered
	numValues { ^info !? { info[\dimension] } !? { |dimension| dimension - 1 } }

	// Writes what the units on this model hear and play to a log: a new file in a folder, or at the end of a file.
	record { |path|
		if(recorder.notNil) { this.stopRecording };
		if(this.numValues.isNil) { Error("MDRNNModel: this model is not there yet. Record in read's action").throw };
		recorder = MDRNNLog(path, this.numValues + 1);
		recorder.listen(server, this.prSlot);
		server.sendMsg('/cmd', \mdrnn_record, this.prSlot, 1);
		^recorder.path
	}

	stopRecording {
		if(recorder.isNil) { ^this };
		server.sendMsg('/cmd', \mdrnn_record, slot, 0);
		recorder.close;
		recorder = nil
	}

	isRecording { ^recorder.notNil }

	// the frames of a performance from a position on; the server says how many it gives at once
	prPredict { |number, position, count, performance, action, onError|
		var inputs = performance.inputs.flat.collect(_.asFloat), frames;
		if(slot.isNil) { ^onError.value("the model has been freed") };
		this.prAsk(
			[\mdrnn_predict, slot, number, position, count, performance.seed.asInteger, performance.piTemp.value.asFloat,
				performance.sigmaTemp.value.asFloat, inputs.size] ++ inputs,
			{ |report|
				if(report[0] == 0) { this.prText(report) } {
					frames = report.copyRange(8, 7 + report[6].asInteger).clump(report[2].asInteger);
					nil
				}
			},
			{ action.value(frames) },
			onError
		)
	}

	free {
		this.stopRecording;
		super.free
	}

	prInfo { |about| ^(dimension: about[0].asInteger, mixtures: about[1].asInteger) }

	prAbout { ^"dimension %, mixtures %".format(info.dimension, info.mixtures) }
}
