/* Puts the wall clock of a process off, and nothing else: CLOCK_MONOTONIC and what counts by it stay.
 *
 * To be loaded by LD_PRELOAD. The file that WALL_CLOCK names holds, as an int64_t, by how many nanoseconds
 * the clock is off; whoever writes there sets the clock of all processes that have it open.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

static const volatile int64_t *offset;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

static void open_once(void) {
  if (offset)
    return;
  const char *path = getenv("WALL_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  void *page = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
  if (page == MAP_FAILED)
    abort(); /* the right time would prove nothing */
  close(file);
  real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  offset = page;
}

static struct timespec shifted(const struct timespec *at, int64_t by) {
  int64_t time = at->tv_sec * SECOND + at->tv_nsec + by;
  return (struct timespec){.tv_sec = time / SECOND, .tv_nsec = time % SECOND};
}

static int is_wall_clock(clockid_t clock) {
  return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  open_once();
  int result = real_clock_gettime(clock, now);
  if (!result && is_wall_clock(clock))
    *now = shifted(now, *offset);
  return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  (void)zone;
  struct timespec time;
  int result = clock_gettime(CLOCK_REALTIME, &time);
  *now = (struct timeval){.tv_sec = time.tv_sec, .tv_usec = time.tv_nsec / 1000};
  return result;
}

time_t time(time_t *now) {
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  if (now)
    *now = time.tv_sec;
  return time.tv_sec;
}

/* Who waits until a time of the wall clock, in a server, has read it here. */
int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
  struct timespec now, real;
  open_once();
  real_clock_gettime(CLOCK_MONOTONIC, &now);
  /* A condition may have been made for CLOCK_MONOTONIC, on which no machine is that old. */
  if (until->tv_sec < now.tv_sec + 30 * 365 * 86400)
    return pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, until);
  real = shifted(until, -*offset);
  return pthread_cond_clockwait(condition, mutex, CLOCK_REALTIME, &real);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
  open_once();
  struct timespec real = shifted(until, -*offset);
  return sem_clockwait(semaphore, CLOCK_REALTIME, &real);
}
