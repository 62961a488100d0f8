/* The guest program as it was built, inside this library: there is nothing to be found or lost. */
	.section .rodata
	.globl	rootfs_guest_image
	.hidden	rootfs_guest_image
	.balign	16
rootfs_guest_image:
	.incbin	GUEST_IMAGE
	.globl	rootfs_guest_image_end
	.hidden	rootfs_guest_image_end
rootfs_guest_image_end:
	.section .note.GNU-stack, "", %progbits
