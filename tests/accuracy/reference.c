/* SPDX-License-Identifier: Apache-2.0 */
#include "accuracy/reference.h"

#include <hdf5.h>

#include "support.h"

int64_t reference_open(const char *path) {
  hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  if (file < 0) fail_msg("%s: cannot be opened", path);
  return file;
}

void reference_close(int64_t file) {
  H5Fclose(file);
}

bool reference_has(int64_t file, const char *name) {
  return H5Lexists(file, name, H5P_DEFAULT) > 0;
}

static void *read_all(int64_t file, const char *name, hid_t type, size_t size, int64_t *out_count) {
  hid_t data = H5Dopen2(file, name, H5P_DEFAULT);
  if (data < 0) fail_msg("data set %s: not found", name);
  hid_t space = H5Dget_space(data);
  *out_count = H5Sget_simple_extent_npoints(space);
  void *values = calloc((size_t)*out_count + 1, size);
  assert_non_null(values);
  assert_true(H5Dread(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
  H5Sclose(space);
  H5Dclose(data);
  return values;
}

int32_t *reference_ints(int64_t file, const char *name, int64_t *out_count) {
  return read_all(file, name, H5T_NATIVE_INT32, sizeof(int32_t), out_count);
}

double *reference_reals(int64_t file, const char *name, int64_t *out_count) {
  return read_all(file, name, H5T_NATIVE_DOUBLE, sizeof(double), out_count);
}

#define MAX_GROUPS 64

const char *const *reference_groups(int64_t file) {
  static char names[MAX_GROUPS][64];
  static const char *list[MAX_GROUPS + 1];
  H5G_info_t info;
  assert_true(H5Gget_info(file, &info) >= 0);
  assert_true(info.nlinks <= MAX_GROUPS);
  for (hsize_t i = 0; i < info.nlinks; i++) {
    assert_true(H5Lget_name_by_idx(file, ".", H5_INDEX_NAME, H5_ITER_INC, i, names[i], sizeof names[i], H5P_DEFAULT) >
                0);
    list[i] = names[i];
  }
  list[info.nlinks] = NULL;
  return list;
}
