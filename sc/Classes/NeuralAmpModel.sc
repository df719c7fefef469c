// An amp's model on the server, for NeuralAmp.
NeuralAmpModel : NeurigModel {
	*prPlugin { ^"NeuralAmp" }
	*prBundled { ^"crunch.nam" }

	prInfo { |about, lines|
		^(rate: about[0], latency: about[1].asInteger, params: lines.collect(_.asSymbol))
	}

	prAbout { ^"model's rate % Hz, latency % samples, params %".format(info.rate, info.latency, info.params) }
}
