/* SPDX-License-Identifier: Apache-2.0
 *
 * The compiled kernels, one fat binary per .cu file, as backend.cmake embeds them.
 */
#ifndef CUDA_IMAGES_H
#define CUDA_IMAGES_H

struct cuda_image {
  const char *name; /* of the .cu file; NULL ends the list */
  const void *bytes;
};
extern const struct cuda_image cuda_images[];
/* The nvcc that made them: 13000 for 13.0. 0: built without nvcc, there are none. */
extern const int cuda_images_version;
/* What they were made for: "sm_80 sm_86 ... and PTX of compute_100". */
extern const char cuda_images_targets[];

#endif
