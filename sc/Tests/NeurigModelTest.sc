// What the tests of models have in common.
NeurigModelTest : UnitTest {
	var server, folder;

	setUp {
		server = Server.default;
		this.bootServer(server);
		folder = PathName.tmp +/+ "neurig é " ++ 1e9.rand.asString;
		File.mkdir(folder);
	}

	tearDown {
		server.freeAll;
		File.deleteAll(folder);
	}

	// waits for action or onError; gives what came
	answer { |request, seconds = 12|
		var condition = Condition.new, answer, timeout;
		timeout = SystemClock.sched(seconds, { answer = \timeout; condition.unhang; nil });
		request.value({ |model| answer = \done; condition.unhang }, { |reason| answer = reason; condition.unhang });
		answer ?? { condition.hang };
		timeout.clear;
		^answer
	}
}
