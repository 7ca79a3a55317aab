// Stands between a process and the files under DISK_DIRECTORY (LD_PRELOAD).
//   DISK_RECORD=<file>  writes down every change of a file and every line on standard output, in order, for power-loss.mjs
//   DISK_FULL=<file>    while this file exists, writes are cut in half and answer "no space left"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#undef fwrite_unlocked
#define FILES_MAX 65536
static char *paths[FILES_MAX];
static int64_t positions[FILES_MAX];
static int record = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(result, name, ...) \
  static result (*real)(__VA_ARGS__); \
  if (real == NULL) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static int is_ours(const char *path) {
  const char *directory = getenv("DISK_DIRECTORY");
  return directory != NULL && path != NULL && strncmp(path, directory, strlen(directory)) == 0;
}

// kind 1, path length 4, offset 8, data length 4, path, data; written with the bare system call: ours is interposed
static void note(char kind, const char *path, int64_t offset, const void *data, uint32_t length) {
  const char *name = getenv("DISK_RECORD");
  if (name == NULL) return;
  pthread_mutex_lock(&lock);
  if (record < 0) {
    record = (int)syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  }
  uint32_t path_length = (uint32_t)strlen(path);
  char head[17];
  head[0] = kind;
  memcpy(head + 1, &path_length, 4);
  memcpy(head + 5, &offset, 8);
  memcpy(head + 13, &length, 4);
  struct iovec parts[3] = {{head, 17}, {(void *)path, path_length}, {(void *)data, length}};
  if (syscall(SYS_writev, record, parts, 3) < 0) abort();
  pthread_mutex_unlock(&lock);
}

static int is_full(void) {
  const char *flag = getenv("DISK_FULL");
  struct stat status;
  return flag != NULL && stat(flag, &status) == 0;
}
static int tracked(int file) {
  return file >= 0 && file < FILES_MAX && paths[file] != NULL;
}
static void opened(int file, const char *path, int truncates) {
  if (file < 0 || file >= FILES_MAX) return;
  free(paths[file]);
  paths[file] = is_ours(path) ? strdup(path) : NULL;
  struct stat status;
  positions[file] = !truncates && fstat(file, &status) == 0 ? status.st_size : 0;
  if (tracked(file) && truncates) note('C', path, 0, "", 0);
}
static void wrote(int file, const void *data, size_t length) {
  if (!tracked(file)) return;
  note('W', paths[file], positions[file], data, (uint32_t)length);
  positions[file] += (int64_t)length;
}

int open64(const char *path, int flags, ...) {
  REAL(int, open64, const char *, int, ...);
  va_list list;
  va_start(list, flags);
  mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
  va_end(list);
  int file = real(path, flags, mode);
  if ((flags & O_ACCMODE) != O_RDONLY) opened(file, path, (flags & O_TRUNC) != 0);
  return file;
}
FILE *fopen64(const char *path, const char *mode) {
  REAL(FILE *, fopen64, const char *, const char *);
  FILE *stream = real(path, mode);
  if (stream != NULL && mode[0] != 'r') opened(fileno(stream), path, mode[0] == 'w');
  return stream;
}
int close(int file) {
  REAL(int, close, int);
  if (tracked(file)) {
    free(paths[file]);
    paths[file] = NULL;
  }
  return real(file);
}
int fclose(FILE *stream) {
  REAL(int, fclose, FILE *);
  int file = fileno(stream);
  if (tracked(file)) {
    free(paths[file]);
    paths[file] = NULL;
  }
  return real(stream);
}

size_t fwrite_unlocked(const void *data, size_t size, size_t count, FILE *stream) {
  REAL(size_t, fwrite_unlocked, const void *, size_t, size_t, FILE *);
  int file = fileno(stream);
  if (tracked(file) && is_full()) {
    size_t half = size * count / 2;
    wrote(file, data, half);
    real(data, 1, half, stream);
    errno = ENOSPC;
    return 0;
  }
  wrote(file, data, size * count);
  return real(data, size, count, stream);
}
ssize_t write(int file, const void *data, size_t length) {
  REAL(ssize_t, write, int, const void *, size_t);
  if (tracked(file) && is_full()) {
    errno = ENOSPC;
    return -1;
  }
  if (file == 1) note('A', "", 0, data, (uint32_t)length);
  wrote(file, data, length);
  return real(file, data, length);
}

static int sync_with(int (*real)(int), int file) {
  if (tracked(file) && is_full()) {
    errno = ENOSPC;
    return -1;
  }
  int result = real(file);
  if (result == 0 && tracked(file)) note('S', paths[file], 0, "", 0);
  return result;
}
int fsync(int file) {
  REAL(int, fsync, int);
  return sync_with(real, file);
}
int fdatasync(int file) {
  REAL(int, fdatasync, int);
  return sync_with(real, file);
}
int rename(const char *from, const char *to) {
  REAL(int, rename, const char *, const char *);
  int result = real(from, to);
  if (result == 0 && is_ours(from)) note('R', from, 0, to, (uint32_t)strlen(to));
  return result;
}
int unlink(const char *path) {
  REAL(int, unlink, const char *);
  int result = real(path);
  if (result == 0 && is_ours(path)) note('U', path, 0, "", 0);
  return result;
}
