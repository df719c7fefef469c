// [neurig.closing]: bangs when its patch is closed, when the object it is in is deleted, and when Pd quits, while all of
// the patch is still there. Pd tells objects of the first two by their method for loadbang; nothing of its own uses that.
#include <m_pd.h>

#include <cstdlib>

namespace {

constexpr int kClosing = 2;  // LB_CLOSE in Pd's g_canvas.h

struct Closing {
  t_object object;
  Closing *next;
};

t_class *closing_class;
Closing *living;

void loadbang(Closing *x, t_floatarg when) {
  if (static_cast<int>(when) == kClosing) outlet_bang(x->object.ob_outlet);
}

// Pd does not close its patches when it quits.
void quit() {
  while (Closing *x = living) {
    living = x->next;
    outlet_bang(x->object.ob_outlet);
  }
}

void *create() {
  auto *x = reinterpret_cast<Closing *>(pd_new(closing_class));
  x->next = living;
  living = x;
  outlet_new(&x->object, &s_bang);
  return x;
}

void destroy(Closing *x) {
  for (Closing **link = &living; *link; link = &(*link)->next)
    if (*link == x) {
      *link = x->next;
      return;
    }
}

}  // namespace

// Pd looks for this name where an object's has a dot.
extern "C" __attribute__((visibility("default"))) void setup_neurig0x2eclosing() {
  closing_class = class_new(gensym("neurig.closing"), reinterpret_cast<t_newmethod>(create),
                            reinterpret_cast<t_method>(destroy), sizeof(Closing), CLASS_NOINLET, A_NULL);
  class_addmethod(closing_class, reinterpret_cast<t_method>(loadbang), gensym("loadbang"), A_FLOAT, A_NULL);
  std::atexit(quit);
}
