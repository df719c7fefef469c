// What both objects need to load a model: finding the file as Pd does, reading it in a thread, telling how it went.
#pragma once
#include <m_pd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "../core/neurig.h"

// in Pd's g_canvas.h
extern "C" int canvas_path_iterate(const t_canvas *, int (*)(const char *folder, void *data), void *data);

namespace {

template <auto free> struct Free {
  template <class T> void operator()(T *object) const { free(object); }
};
using Model = std::unique_ptr<neurig_model, Free<neurig_model_release>>;

constexpr int kErrorSize = 512;  // bytes for the core's reason of a failure
constexpr const char *kNotFound = "there is no such file in the patch's folder or on Pd's search path";
constexpr double kPollMs = 5;    // how often the Pd thread looks for what a worker has finished

// Pd calls what makes an object with the arguments that its class declares, whatever this type says.
t_newmethod new_method(void *(*create)(t_symbol *, int, t_atom *)) {
  return reinterpret_cast<t_newmethod>(reinterpret_cast<t_method>(create));
}

// ---- Atoms ----------------------------------------------------------------------------------------------------------

// The atoms as they were typed: a file name may have spaces and numbers in it.
std::string text(int argc, const t_atom *argv) {
  std::string typed;
  for (int i = 0; i < argc; i++) {
    if (i) typed += ' ';
    if (argv[i].a_type == A_SYMBOL) {
      typed += argv[i].a_w.w_symbol->s_name;
    } else {
      char number[MAXPDSTRING];
      atom_string(&argv[i], number, sizeof number);
      typed += number;
    }
  }
  return typed;
}

t_atom atom(const std::string &symbol) {
  t_atom a;
  SETSYMBOL(&a, gensym(symbol.c_str()));
  return a;
}

t_atom atom(double number) {
  t_atom a;
  SETFLOAT(&a, static_cast<t_float>(number));
  return a;
}

// Messages for an outlet, sent together at the end: what they set off in the patch may change the object.
class Messages {
 public:
  void add(const char *selector, std::vector<t_atom> values) {
    messages_.emplace_back(gensym(selector), std::move(values));
  }
  void send(t_outlet *outlet) {
    for (auto &[selector, values] : messages_)
      outlet_anything(outlet, selector, static_cast<int>(values.size()), values.data());
  }

 private:
  std::vector<std::pair<t_symbol *, std::vector<t_atom>>> messages_;
};

// A load has failed: in the console, and from the information outlet.
void fail(void *object, const char *name, t_outlet *information, const std::string &file, const std::string &reason) {
  pd_error(object, "%s: %s: %s", name, file.c_str(), reason.c_str());
  Messages messages;
  messages.add("error", {atom(file), atom(reason)});
  messages.send(information);
}

// Reads the flags at the front of an object's arguments: each is "-name number" or "-name word". `take` and `take_word`
// are given both and say whether there is such a flag and its value is good. The atoms that follow are left in argc and
// argv.
template <class Take, class TakeWord>
void read_flags(void *object, const char *name, int &argc, t_atom *&argv, Take take, TakeWord take_word) {
  while (argc && argv->a_type == A_SYMBOL && argv->a_w.w_symbol->s_name[0] == '-') {
    const std::string flag = argv->a_w.w_symbol->s_name;
    const bool number = argc > 1 && argv[1].a_type == A_FLOAT;
    const bool word = argc > 1 && argv[1].a_type == A_SYMBOL && argv[1].a_w.w_symbol->s_name[0] != '-';
    const bool good = number ? take(flag, argv[1].a_w.w_float) : word && take_word(flag, argv[1].a_w.w_symbol->s_name);
    const int used = number || good ? 2 : 1;
    if (!good) pd_error(object, "%s: bad flag: %s", name, text(used, argv).c_str());
    argc -= used, argv += used;
  }
}

template <class Take> void read_flags(void *object, const char *name, int &argc, t_atom *&argv, Take take) {
  read_flags(object, name, argc, argv, take, [](const std::string &, const char *) { return false; });
}

// ---- Files ----------------------------------------------------------------------------------------------------------

bool has_digit(const std::string &name) {
  return std::any_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// A name as Pd reads it where it is typed: numbers lose what Pd does not keep of them; 05 and 1.20 are 5 and 1.2.
std::string as_read(const std::string &name) {
  if (!has_digit(name)) return name;
  t_binbuf *atoms = binbuf_new();
  binbuf_text(atoms, name.c_str(), name.size());
  const std::string read = text(binbuf_getnatom(atoms), binbuf_getvec(atoms));
  binbuf_free(atoms);
  return read;
}

// The path of a file that Pd reads as `name`, in a folder or, by slashes, below it. Empty where there is none.
std::string find_as_read(const std::filesystem::path &folder, const std::string &name, const std::string &extension) {
  const size_t slash = name.find('/');
  const bool is_file = slash == std::string::npos;
  const std::string first = name.substr(0, slash), rest = is_file ? "" : name.substr(slash + 1);
  std::error_code failed;
  if (!is_file && std::filesystem::is_directory(folder / first, failed))
    return find_as_read(folder / first, rest, extension);
  const std::string wanted = as_read(first);
  std::filesystem::directory_iterator at(folder, failed), end;
  for (; !failed && at != end; at.increment(failed)) {
    const auto &path = at->path();
    const bool same = as_read(path.filename().string()) == wanted ||
                      (is_file && path.extension() == extension && as_read(path.stem().string()) == wanted);
    std::error_code unknown;
    if (!same || at->is_directory(unknown) == is_file) continue;
    const std::string found = is_file ? path.string() : find_as_read(path, rest, extension);
    if (!found.empty()) return found;
  }
  return "";
}

// The same in the folders that Pd searches.
std::string find_as_read(const t_canvas *canvas, const std::string &name, const std::string &extension) {
  const char *const home = getenv("HOME");
  if (!has_digit(name)) return "";
  if (home && name.rfind("~/", 0) == 0) return find_as_read(std::filesystem::path(home), name.substr(2), extension);
  if (name[0] == '/') return find_as_read(std::filesystem::path("/"), name.substr(1), extension);
  std::string found;
  std::function<bool(const char *)> look = [&](const char *folder) {
    found = find_as_read(std::filesystem::path(folder), name, extension);
    return found.empty();
  };
  const auto call = [](const char *folder, void *look) -> int {  // 0 ends the search
    return (*static_cast<std::function<bool(const char *)> *>(look))(folder);
  };
  canvas_path_iterate(canvas, call, &look);
  return found;
}

// The full path of a file that is looked for as Pd does (in the patch's folder, then along [declare] and the
// preferences), as it is and with `extension` behind it. Empty where there is none.
std::string find_file(const t_canvas *canvas, const std::string &name, const char *extension) {
  std::string found;
  for (const char *ending : {"", extension}) {
    char folder[MAXPDSTRING], *file;
    const int opened = canvas_open(canvas, name.c_str(), ending, folder, &file, sizeof folder, 1);
    if (opened < 0) continue;
    sys_close(opened);
    found = std::string(folder) + "/" + file;
    break;
  }
  if (found.empty()) found = find_as_read(canvas, name, extension);
  std::error_code failed;  // a patch that was opened by a relative path has a relative folder
  return std::filesystem::canonical(found, failed).string();
}

// ---- Work in the background -----------------------------------------------------------------------------------------

// Does one job at a time in a thread; of those that come meanwhile only the newest is kept. To be used, and destroyed,
// in the Pd thread. Destroying does not wait for the job under way: its thread throws away what nobody fetches.
template <class Result> class Background {
 public:
  using Job = std::function<Result()>;

  void start(Job job) {
    if (running_)
      next_ = std::move(job);
    else
      run(std::move(job));
  }

  // Nothing that was started before will be heard of.
  void forget() {
    next_ = nullptr;
    unwanted_ = busy();
  }

  bool busy() const { return running_ != nullptr; }

  // Whether `result` is now that of the newest job.
  bool finished(Result &result) {
    if (!running_ || !running_->done.load(std::memory_order_acquire)) return false;
    Result done = std::move(running_->result);
    running_ = nullptr;
    if (next_) {
      run(std::exchange(next_, nullptr));
      return false;
    }
    if (std::exchange(unwanted_, false)) return false;
    result = std::move(done);
    return true;
  }

 private:
  void run(Job job) {
    unwanted_ = false;
    running_ = std::make_shared<Running>();
    const auto work = [job = std::move(job), running = running_] {
      running->result = job();
      running->done.store(true, std::memory_order_release);
    };
    try {
      std::thread(work).detach();
    } catch (const std::system_error &) {  // the system has no thread left: then Pd waits
      work();
    }
  }

  struct Running {
    Result result;
    std::atomic<bool> done{false};
  };
  std::shared_ptr<Running> running_;
  Job next_;
  bool unwanted_ = false;
};

}  // namespace
