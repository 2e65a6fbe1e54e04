# SPDX-License-Identifier: GPL-2.0
#
# The only devices built into the project's QEMU. VIRTIO_VESPER is added by
# lib/recipe-qemu where qemu-patches/ define it.
CONFIG_Q35=y
# The device's own test plugs and unplugs it there.
CONFIG_I440FX=y
CONFIG_PCI=y
CONFIG_PCIE_PORT=y
CONFIG_VIRTIO=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_SERIAL=y
CONFIG_VIRTIO_BLK=y
CONFIG_VIRTIO_NET=y
CONFIG_VIRTIO_9P=y
CONFIG_VIRTIO_RNG=y
CONFIG_VHOST_VSOCK=y
CONFIG_SERIAL_ISA=y
CONFIG_PVPANIC_PCI=y
