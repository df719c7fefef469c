// What the tests of predictions have in common: a predictor.
MDRNNModelTest : NeurigModelTest {
	var model;

	setUp {
		super.setUp;
		this.answer({ |action, onError| model = MDRNNModel.read(server, MDRNNModel.bundled, action, onError) })
	}

	tearDown {
		model.slot !? { model.free };
		3.do { server.sync };  // what is still asked for is answered
		super.tearDown
	}
}
