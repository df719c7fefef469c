TestMDRNNLog : UnitTest {
	var folder;

	setUp {
		folder = PathName.tmp +/+ "neurig log " ++ 1e9.rand.asString;
		File.mkdir(folder)
	}

	tearDown { File.deleteAll(folder) }

	test_log {
		var log = MDRNNLog(folder +/+ "a.log", 3), lines;
		log.add(true, [0.5, 0.25], 10.0);
		log.add(false, [1, 0], 10.125);
		this.assertException({ log.add(true, [0.5]) }, Error, "values that do not fit");
		log.close;
		log.add(true, [0.5, 0.5]);
		lines = File.readAllString(log.path).split($\n).drop(-1);
		this.assertEquals(lines.collect { |line| line.split($,).drop(1) },
			[["interface", "0.5", "0.25"], ["rnn", "1.0", "0.0"]], "two events: %".format(lines));
		this.assertFloatEquals(lines.collect { |line| line.split($,)[0].drop(17).asFloat }.reverse.reduce('-') % 60, 0.125,
			"and the time between them", 1e-5);
	}

	test_folder_that_there_is_not {
		this.assertException({ MDRNNLog(folder +/+ "no" +/+ "such.log", 3) }, Error, "it cannot be written")
	}
}
