// An amp's model on the server, for NeuralAmp.
NeuralAmpModel : NeurigModel {
	*prPlugin { ^"NeuralAmp" }
	*prBundled { ^"crunch.nam" }

	// samples by which the output of its units lags behind their input; nil before the server has answered
	latency { ^info !? { info[\latency] } }

	prInfo { |about, lines|
		^(rate: about[0], latency: about[1].asInteger, params: lines.collect(_.asSymbol))
	}

	prAbout { ^"model's rate % Hz, latency % samples, params %".format(info.rate, info.latency, info.params) }
}
