// One instance of a class for the process, or for each thread.
#ifndef LLM_CODEGEN_ATB_SPEED_UTILS_SINGLETON_H
#define LLM_CODEGEN_ATB_SPEED_UTILS_SINGLETON_H

namespace atb_speed {

template <class T>
T &GetSingleton() {
    static T instance;
    return instance;
}

template <class T>
T &GetThreadLocalSingleton() {
    static thread_local T instance;
    return instance;
}

}  // namespace atb_speed

#endif
