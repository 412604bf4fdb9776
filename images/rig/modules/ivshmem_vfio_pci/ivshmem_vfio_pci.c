// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO variant driver for QEMU's ivshmem-plain: a PCI function that migrates, without hardware.
 *
 * The state of the function is BAR 2, plain memory of any power of two.  The stream of a
 * migration is a header, the first bytes of the BAR as they are in PRE_COPY (pre_copy_bytes), and
 * all of the BAR as it is in STOP_COPY.  What is written to a resuming stream goes into the BAR at
 * once.
 *
 * /sys/kernel/debug/ivshmem_vfio_pci/ADDRESS has, for each function, the BAR itself (state), a log
 * of the calls, and parameters that make the function slow, frugal or faulty.  For tests only.
 *
 * Locks: memory_lock of vfio-pci-core, under which it resets the function, then state_mutex.
 * io_mutex, one read or write at a time, is outside of both.  None but io_mutex is held while user
 * memory is touched.
 */

#include <linux/anon_inodes.h>
#include <linux/cleanup.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/io.h>
#include <linux/iova_bitmap.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pm_runtime.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/vfio.h>
#include <linux/vfio_pci_core.h>
#include <linux/vmalloc.h>

#define IVSHMEM_DEVICE_ID	0x1110
#define IVSHMEM_BAR		2
#define IVSHMEM_NONE		U64_MAX

#define STREAM_MAGIC		0x6d656d6873766921ULL
#define STREAM_VERSION		1
#define BOUNCE_BYTES		SZ_64K
#define LOG_EVENTS		SZ_64K

struct ivshmem_header {
	__le64 magic;
	__le32 version;
	__le32 header_bytes;
	__le64 early_bytes;	/* of the BAR, in front of all of it */
	__le64 bar_bytes;
};

/* What a test sets; read at each call, but for migration_flags, which are read at each open. */
struct ivshmem_params {
	u64 migration_flags;	/* VFIO_MIGRATION_* */
	u64 pre_copy_bytes;	/* of the BAR, offered in PRE_COPY */
	u64 data_size;		/* what MIG_DATA_SIZE answers; IVSHMEM_NONE: the truth */
	u64 read_most;		/* bytes that one read gives; 0: all */
	u64 read_delay_us;
	u64 read_error_at;	/* EIO once so many bytes were given */
	u64 write_most;
	u64 write_delay_us;
	u64 write_error_at;
	u64 dirty_all;		/* report all pages as dirty, else none */
	u64 refuse[VFIO_DEVICE_STATE_NR]; /* errno of the arc to this state; 0: it is taken */
};

struct ivshmem_event {
	s64 time_ns;
	const char *name;	/* of a read, a write or an arc */
	u64 offset;		/* of an arc: the state that was asked for */
	u64 asked;		/* of an arc: the states on the way, a hex digit each */
	u64 got;
	int error;
};

struct ivshmem_device {
	struct vfio_pci_core_device core;
	void __iomem *bar;
	u64 bar_bytes;
	u16 command;			/* PCI_COMMAND, as it was found */

	struct mutex state_mutex;	/* the next three */
	enum vfio_device_mig_state mig_state;
	struct ivshmem_file *file;	/* saving or resuming, never both */
	bool is_logging;

	struct ivshmem_params params;
	u64 read_bytes, written_bytes;	/* of the last stream */

	spinlock_t events_lock;		/* the next three */
	struct ivshmem_event *events;
	u32 event_count;
	u64 events_lost;
	struct dentry *debugfs;
};

/* Behind a data_fd.  It holds a reference to the device, which may be closed before it. */
struct ivshmem_file {
	struct ivshmem_device *ivdev;
	struct file *filp;
	struct mutex io_mutex;	/* pos and bounce: one read or write at a time */
	u64 pos;
	u64 early_bytes;
	u64 readable;		/* bytes of the stream that may be read in this state */
	bool is_disabled;	/* the device has left the state that opened it */
	struct ivshmem_header header;
	u8 *bounce;
};

static struct dentry *debugfs_root;

static struct ivshmem_device *to_ivshmem(struct vfio_device *vdev)
{
	return container_of(vdev, struct ivshmem_device, core.vdev);
}

static void ivshmem_log(struct ivshmem_device *ivdev, const char *name, u64 offset, u64 asked,
			u64 got, int error)
{
	struct ivshmem_event event = {
		.time_ns = ktime_get_real_ns(),
		.name = name,
		.offset = offset,
		.asked = asked,
		.got = got,
		.error = -error,
	};

	guard(spinlock)(&ivdev->events_lock);
	if (ivdev->event_count < LOG_EVENTS)
		ivdev->events[ivdev->event_count++] = event;
	else
		ivdev->events_lost++;
}

/* -- The BAR ------------------------------------------------------------------------------ */

/*
 * Copy between the BAR and kernel memory.  QEMU at the destination has memory decoding off until
 * it has loaded the config space, so it is switched on here, and stays on: each change costs an
 * emulator of this machine a new memory map.  ivshmem_read_region() keeps it from the user.
 */
static int ivshmem_copy(struct ivshmem_device *ivdev, bool to_bar, u64 offset, void *buf,
			size_t bytes, const bool *is_disabled)
{
	struct pci_dev *pdev = ivdev->core.pdev;
	u16 command;
	int ret;

	ret = pm_runtime_resume_and_get(&pdev->dev);
	if (ret)
		return ret;
	down_write(&ivdev->core.memory_lock);
	if (is_disabled && READ_ONCE(*is_disabled)) {
		ret = -ENODEV;
		goto out;
	}
	pci_read_config_word(pdev, PCI_COMMAND, &command);
	if (!(command & PCI_COMMAND_MEMORY))
		pci_write_config_word(pdev, PCI_COMMAND, command | PCI_COMMAND_MEMORY);
	if (to_bar)
		memcpy_toio(ivdev->bar + offset, buf, bytes);
	else
		memcpy_fromio(buf, ivdev->bar + offset, bytes);
out:
	up_write(&ivdev->core.memory_lock);
	pm_runtime_put(&pdev->dev);
	return ret;
}

/* Bytes of the BAR that are offered in PRE_COPY. */
static u64 ivshmem_early_bytes(const struct ivshmem_device *ivdev)
{
	if (!(ivdev->core.vdev.migration_flags & VFIO_MIGRATION_PRE_COPY))
		return 0;
	return min(READ_ONCE(ivdev->params.pre_copy_bytes), ivdev->bar_bytes);
}

/* -- The stream --------------------------------------------------------------------------- */

/* How many bytes are left of the part of the stream at pos; offset: where that is in the BAR. */
static u64 ivshmem_part(const struct ivshmem_file *file, u64 *offset)
{
	const u64 head = sizeof(file->header);

	*offset = 0;
	if (file->pos < head)
		return head - file->pos;
	if (file->pos < head + file->early_bytes) {
		*offset = file->pos - head;
		return file->early_bytes - *offset;
	}
	*offset = file->pos - head - file->early_bytes;
	return file->ivdev->bar_bytes - *offset;
}

static u64 ivshmem_stream_bytes(const struct ivshmem_file *file)
{
	return sizeof(file->header) + file->early_bytes + file->ivdev->bar_bytes;
}

/* How many of the bytes asked for are moved by this call; a negative errno if none may be. */
static ssize_t ivshmem_share(u64 pos, size_t asked, u64 most, u64 error_at, u64 delay_us)
{
	u64 bytes = asked;

	if (delay_us >= 20 * USEC_PER_MSEC)
		schedule_timeout_killable(usecs_to_jiffies(min_t(u64, delay_us, UINT_MAX)));
	else if (delay_us)
		fsleep(delay_us);
	if (fatal_signal_pending(current))
		return -EINTR;
	if (pos >= error_at)
		return -EIO;
	if (most)
		bytes = min(bytes, most);
	return min(bytes, error_at - pos);
}

static ssize_t ivshmem_read(struct file *filp, char __user *buf, size_t asked, loff_t *ppos)
{
	struct ivshmem_file *file = filp->private_data;
	struct ivshmem_device *ivdev = file->ivdev;
	struct ivshmem_params *params = &ivdev->params;
	ssize_t left, ret = 0;
	size_t done = 0;
	u64 start;

	if (ppos)
		return -ESPIPE;
	if (mutex_lock_interruptible(&file->io_mutex))
		return -ERESTARTSYS;
	start = file->pos;
	left = ivshmem_share(start, asked, READ_ONCE(params->read_most),
			     READ_ONCE(params->read_error_at), READ_ONCE(params->read_delay_us));
	if (left < 0)
		ret = left;
	while (left > 0) {
		u64 readable = READ_ONCE(file->readable), offset;
		size_t bytes;

		if (READ_ONCE(file->is_disabled)) {
			ret = -ENODEV;
			break;
		}
		if (file->pos >= readable) {
			/* In PRE_COPY there will be more. */
			if (readable < ivshmem_stream_bytes(file))
				ret = -ENOMSG;
			break;
		}
		bytes = min3((u64)left, readable - file->pos, (u64)BOUNCE_BYTES);
		bytes = min_t(u64, bytes, ivshmem_part(file, &offset));
		if (file->pos < sizeof(file->header))
			memcpy(file->bounce, (u8 *)&file->header + file->pos, bytes);
		else
			ret = ivshmem_copy(ivdev, false, offset, file->bounce, bytes,
					   &file->is_disabled);
		if (!ret && copy_to_user(buf + done, file->bounce, bytes))
			ret = -EFAULT;
		if (ret)
			break;
		file->pos += bytes;
		done += bytes;
		left -= bytes;
		cond_resched();
	}
	if (done)
		ret = 0;
	WRITE_ONCE(ivdev->read_bytes, file->pos);
	ivshmem_log(ivdev, "read", start, asked, done, ret);
	mutex_unlock(&file->io_mutex);
	return done ?: ret;
}

static int ivshmem_take_header(struct ivshmem_file *file)
{
	const struct ivshmem_header *header = &file->header;
	u64 bar_bytes = file->ivdev->bar_bytes;

	if (le64_to_cpu(header->magic) != STREAM_MAGIC ||
	    le32_to_cpu(header->version) != STREAM_VERSION ||
	    le32_to_cpu(header->header_bytes) != sizeof(*header) ||
	    le64_to_cpu(header->bar_bytes) != bar_bytes ||
	    le64_to_cpu(header->early_bytes) > bar_bytes)
		return -EINVAL;
	file->early_bytes = le64_to_cpu(header->early_bytes);
	return 0;
}

static ssize_t ivshmem_write(struct file *filp, const char __user *buf, size_t asked,
			     loff_t *ppos)
{
	struct ivshmem_file *file = filp->private_data;
	struct ivshmem_device *ivdev = file->ivdev;
	struct ivshmem_params *params = &ivdev->params;
	ssize_t left, ret = 0;
	size_t done = 0;
	u64 start;

	if (ppos)
		return -ESPIPE;
	if (mutex_lock_interruptible(&file->io_mutex))
		return -ERESTARTSYS;
	start = file->pos;
	left = ivshmem_share(start, asked, READ_ONCE(params->write_most),
			     READ_ONCE(params->write_error_at),
			     READ_ONCE(params->write_delay_us));
	if (left < 0)
		ret = left;
	while (left > 0) {
		u64 offset;
		size_t bytes = min_t(u64, left, ivshmem_part(file, &offset));

		if (READ_ONCE(file->is_disabled)) {
			ret = -ENODEV;
			break;
		}
		bytes = min_t(size_t, bytes, BOUNCE_BYTES);
		if (!bytes) {
			ret = -ENOSPC;
			break;
		}
		if (copy_from_user(file->bounce, buf + done, bytes)) {
			ret = -EFAULT;
			break;
		}
		if (file->pos < sizeof(file->header)) {
			memcpy((u8 *)&file->header + file->pos, file->bounce, bytes);
			if (file->pos + bytes == sizeof(file->header))
				ret = ivshmem_take_header(file);
		} else {
			ret = ivshmem_copy(ivdev, true, offset, file->bounce, bytes,
					   &file->is_disabled);
		}
		if (ret)
			break;
		file->pos += bytes;
		done += bytes;
		left -= bytes;
		cond_resched();
	}
	if (done)
		ret = 0;
	WRITE_ONCE(ivdev->written_bytes, file->pos);
	ivshmem_log(ivdev, "write", start, asked, done, ret);
	mutex_unlock(&file->io_mutex);
	return done ?: ret;
}

static long ivshmem_precopy_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	const size_t minsz = offsetofend(struct vfio_precopy_info, dirty_bytes);
	struct ivshmem_file *file = filp->private_data;
	struct ivshmem_device *ivdev = file->ivdev;
	struct vfio_precopy_info info;
	u64 readable;

	if (cmd != VFIO_MIG_GET_PRECOPY_INFO)
		return -ENOTTY;
	if (copy_from_user(&info, (void __user *)arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;

	scoped_guard(mutex, &ivdev->state_mutex) {
		if (file->is_disabled)
			return -ENODEV;
		if (ivdev->mig_state != VFIO_DEVICE_STATE_PRE_COPY &&
		    ivdev->mig_state != VFIO_DEVICE_STATE_PRE_COPY_P2P)
			return -EINVAL;
		readable = file->readable;
	}
	scoped_guard(mutex, &file->io_mutex)
		info.initial_bytes = readable - file->pos;
	info.flags = 0;
	info.dirty_bytes = 0;	/* what changes goes with STOP_COPY */
	return copy_to_user((void __user *)arg, &info, minsz) ? -EFAULT : 0;
}

static void ivshmem_free_file(struct ivshmem_file *file)
{
	put_device(&file->ivdev->core.vdev.device);
	mutex_destroy(&file->io_mutex);
	kvfree(file->bounce);
	kfree(file);
}

static int ivshmem_release_file(struct inode *inode, struct file *filp)
{
	ivshmem_free_file(filp->private_data);
	return 0;
}

static const struct file_operations ivshmem_saving_fops = {
	.owner = THIS_MODULE,
	.read = ivshmem_read,
	.unlocked_ioctl = ivshmem_precopy_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = ivshmem_release_file,
};

static const struct file_operations ivshmem_resuming_fops = {
	.owner = THIS_MODULE,
	.write = ivshmem_write,
	.release = ivshmem_release_file,
};

/* Open the device's data_fd.  The device keeps one reference, the caller gets another. */
static struct file *ivshmem_open_file(struct ivshmem_device *ivdev, bool is_saving)
{
	struct ivshmem_file *file = kzalloc(sizeof(*file), GFP_KERNEL_ACCOUNT);
	struct file *filp;

	if (!file)
		return ERR_PTR(-ENOMEM);
	get_device(&ivdev->core.vdev.device);
	file->ivdev = ivdev;
	mutex_init(&file->io_mutex);
	file->bounce = kvmalloc(BOUNCE_BYTES, GFP_KERNEL_ACCOUNT);
	if (!file->bounce) {
		ivshmem_free_file(file);
		return ERR_PTR(-ENOMEM);
	}
	if (is_saving) {
		u64 early = ivshmem_early_bytes(ivdev);

		file->early_bytes = early;
		file->header.magic = cpu_to_le64(STREAM_MAGIC);
		file->header.version = cpu_to_le32(STREAM_VERSION);
		file->header.header_bytes = cpu_to_le32(sizeof(file->header));
		file->header.early_bytes = cpu_to_le64(early);
		file->header.bar_bytes = cpu_to_le64(ivdev->bar_bytes);
		file->readable = sizeof(file->header) + early;
	}
	filp = anon_inode_getfile(is_saving ? "ivshmem-saving" : "ivshmem-resuming",
				  is_saving ? &ivshmem_saving_fops : &ivshmem_resuming_fops,
				  file, is_saving ? O_RDONLY : O_WRONLY);
	if (IS_ERR(filp)) {
		ivshmem_free_file(file);
		return filp;
	}
	stream_open(file_inode(filp), filp);
	file->filp = filp;
	ivdev->file = file;
	WRITE_ONCE(*(is_saving ? &ivdev->read_bytes : &ivdev->written_bytes), 0);
	return get_file(filp);
}

static void ivshmem_close_file(struct ivshmem_device *ivdev)
{
	struct ivshmem_file *file = ivdev->file;

	ivdev->file = NULL;
	if (file) {
		WRITE_ONCE(file->is_disabled, true);
		fput(file->filp);
	}
}

/* -- The states --------------------------------------------------------------------------- */

static struct file *ivshmem_save_all(struct ivshmem_device *ivdev)
{
	struct file *filp = NULL;

	if (!ivdev->file)	/* without PRE_COPY */
		filp = ivshmem_open_file(ivdev, true);
	if (!IS_ERR(filp))
		WRITE_ONCE(ivdev->file->readable, ivshmem_stream_bytes(ivdev->file));
	return filp;
}

static int ivshmem_end_resuming(struct ivshmem_device *ivdev)
{
	u64 got = READ_ONCE(ivdev->file->pos), wanted = ivshmem_stream_bytes(ivdev->file);

	/* Nothing at all is a migration that was given up. */
	if (got && got != wanted) {
		pci_warn(ivdev->core.pdev, "got %llu of %llu bytes of state\n", got, wanted);
		return -EINVAL;
	}
	ivshmem_close_file(ivdev);
	return 0;
}

#define ARC(from, to)	(VFIO_DEVICE_STATE_##from << 8 | VFIO_DEVICE_STATE_##to)

/* Take one arc of vfio_mig_get_next_state(); the new data_fd, if it opens one. */
static struct file *ivshmem_take_arc(struct ivshmem_device *ivdev, enum vfio_device_mig_state next)
{
	u64 refused = READ_ONCE(ivdev->params.refuse[next]);

	if (refused)
		return ERR_PTR(-(long)min_t(u64, refused, MAX_ERRNO));
	switch (ivdev->mig_state << 8 | next) {
	case ARC(RUNNING, RUNNING_P2P):
	case ARC(RUNNING_P2P, RUNNING):
	case ARC(RUNNING_P2P, STOP):
	case ARC(RUNNING, STOP):
	case ARC(STOP, RUNNING_P2P):
	case ARC(STOP, RUNNING):
	case ARC(PRE_COPY, PRE_COPY_P2P):
	case ARC(PRE_COPY_P2P, PRE_COPY):
		return NULL;	/* it does nothing by itself that could be stopped */
	case ARC(RUNNING, PRE_COPY):
	case ARC(RUNNING_P2P, PRE_COPY_P2P):
		return ivshmem_open_file(ivdev, true);
	case ARC(PRE_COPY, STOP_COPY):
	case ARC(PRE_COPY_P2P, STOP_COPY):
	case ARC(STOP, STOP_COPY):
		return ivshmem_save_all(ivdev);
	case ARC(STOP, RESUMING):
		return ivshmem_open_file(ivdev, false);
	case ARC(RESUMING, STOP):
		return ERR_PTR(ivshmem_end_resuming(ivdev));
	case ARC(PRE_COPY, RUNNING):
	case ARC(PRE_COPY_P2P, RUNNING_P2P):
	case ARC(STOP_COPY, STOP):
		ivshmem_close_file(ivdev);
		return NULL;
	default:
		WARN_ON_ONCE(true);
		return ERR_PTR(-EINVAL);
	}
}

static struct file *ivshmem_set_state(struct vfio_device *vdev, enum vfio_device_mig_state wanted)
{
	struct ivshmem_device *ivdev = to_ivshmem(vdev);
	struct file *filp = NULL;
	u64 path = 0;

	guard(mutex)(&ivdev->state_mutex);
	while (ivdev->mig_state != wanted) {
		enum vfio_device_mig_state next;
		int ret = vfio_mig_get_next_state(vdev, ivdev->mig_state, wanted, &next);

		filp = ret ? ERR_PTR(ret) : ivshmem_take_arc(ivdev, next);
		if (IS_ERR(filp))
			break;
		ivdev->mig_state = next;
		path = path << 4 | next;
		/* No state that opens a data_fd is on the way to another one. */
		if (WARN_ON_ONCE(filp && next != wanted)) {
			fput(filp);
			filp = ERR_PTR(-EINVAL);
			break;
		}
	}
	ivshmem_log(ivdev, "arc", wanted, path, 0, PTR_ERR_OR_ZERO(filp));
	return filp;
}

static int ivshmem_get_state(struct vfio_device *vdev, enum vfio_device_mig_state *state)
{
	struct ivshmem_device *ivdev = to_ivshmem(vdev);

	guard(mutex)(&ivdev->state_mutex);
	*state = ivdev->mig_state;
	return 0;
}

static int ivshmem_get_data_size(struct vfio_device *vdev, unsigned long *bytes)
{
	struct ivshmem_device *ivdev = to_ivshmem(vdev);
	u64 said = READ_ONCE(ivdev->params.data_size);

	guard(mutex)(&ivdev->state_mutex);
	if (said != IVSHMEM_NONE)
		*bytes = said;
	else if (ivdev->file && ivdev->mig_state != VFIO_DEVICE_STATE_RESUMING)
		*bytes = ivshmem_stream_bytes(ivdev->file) - READ_ONCE(ivdev->file->pos);
	else
		*bytes = sizeof(struct ivshmem_header) + ivshmem_early_bytes(ivdev) +
			 ivdev->bar_bytes;
	return 0;
}

static const struct vfio_migration_ops ivshmem_migration_ops = {
	.migration_set_state = ivshmem_set_state,
	.migration_get_state = ivshmem_get_state,
	.migration_get_data_size = ivshmem_get_data_size,
};

/* After each reset, of the user's or of vfio-pci-core: under memory_lock, if it is open. */
static void ivshmem_reset_done(struct pci_dev *pdev)
{
	struct vfio_pci_core_device *core = dev_get_drvdata(&pdev->dev);
	struct ivshmem_device *ivdev = container_of(core, struct ivshmem_device, core);

	guard(mutex)(&ivdev->state_mutex);
	ivshmem_close_file(ivdev);
	ivdev->mig_state = VFIO_DEVICE_STATE_RUNNING;
	ivshmem_log(ivdev, "reset", 0, 0, 0, 0);
}

/* -- The log of DMA: there is none -------------------------------------------------------- */

static int ivshmem_log_start(struct vfio_device *vdev, struct rb_root_cached *ranges, u32 nnodes,
			     u64 *page_size)
{
	struct ivshmem_device *ivdev = to_ivshmem(vdev);

	guard(mutex)(&ivdev->state_mutex);
	if (ivdev->is_logging)
		return -EINVAL;
	ivdev->is_logging = true;
	return 0;
}

static int ivshmem_log_stop(struct vfio_device *vdev)
{
	struct ivshmem_device *ivdev = to_ivshmem(vdev);

	guard(mutex)(&ivdev->state_mutex);
	ivdev->is_logging = false;
	return 0;
}

static int ivshmem_log_read_and_clear(struct vfio_device *vdev, unsigned long iova,
				      unsigned long length, struct iova_bitmap *dirty)
{
	struct ivshmem_device *ivdev = to_ivshmem(vdev);

	guard(mutex)(&ivdev->state_mutex);
	if (!ivdev->is_logging)
		return -EINVAL;
	if (READ_ONCE(ivdev->params.dirty_all))
		iova_bitmap_set(dirty, iova, length);
	return 0;
}

static const struct vfio_log_ops ivshmem_log_ops = {
	.log_start = ivshmem_log_start,
	.log_stop = ivshmem_log_stop,
	.log_read_and_clear = ivshmem_log_read_and_clear,
};

/* -- debugfs ------------------------------------------------------------------------------ */

static ssize_t ivshmem_access_state(struct file *filp, char __user *buf, size_t bytes,
				    loff_t *ppos, bool to_bar)
{
	struct ivshmem_device *ivdev = filp->private_data;
	size_t done = 0;
	int ret = 0;
	u8 *bounce;

	if (*ppos < 0)
		return -EINVAL;
	if (*ppos >= ivdev->bar_bytes)
		return to_bar && bytes ? -ENOSPC : 0;
	bytes = min_t(u64, bytes, ivdev->bar_bytes - *ppos);
	bounce = kvmalloc(BOUNCE_BYTES, GFP_KERNEL);
	if (!bounce)
		return -ENOMEM;
	while (done < bytes && !ret) {
		size_t piece = min_t(size_t, bytes - done, BOUNCE_BYTES);

		if (to_bar && copy_from_user(bounce, buf + done, piece))
			ret = -EFAULT;
		if (!ret)
			ret = ivshmem_copy(ivdev, to_bar, *ppos, bounce, piece, NULL);
		if (!ret && !to_bar && copy_to_user(buf + done, bounce, piece))
			ret = -EFAULT;
		if (!ret) {
			done += piece;
			*ppos += piece;
		}
		cond_resched();
	}
	kvfree(bounce);
	return done ?: ret;
}

static ssize_t ivshmem_read_state(struct file *filp, char __user *buf, size_t bytes, loff_t *ppos)
{
	return ivshmem_access_state(filp, buf, bytes, ppos, false);
}

static ssize_t ivshmem_write_state(struct file *filp, const char __user *buf, size_t bytes,
				   loff_t *ppos)
{
	return ivshmem_access_state(filp, (char __user *)buf, bytes, ppos, true);
}

static const struct file_operations ivshmem_state_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.read = ivshmem_read_state,
	.write = ivshmem_write_state,
	.llseek = default_llseek,
};

/* One line an event: time, name, offset, asked, got, errno. */
static int ivshmem_events_show(struct seq_file *m, void *unused)
{
	struct ivshmem_device *ivdev = m->private;
	u32 count, i;

	scoped_guard(spinlock, &ivdev->events_lock)
		count = ivdev->event_count;
	for (i = 0; i < count; i++) {
		const struct ivshmem_event *event = &ivdev->events[i];

		seq_printf(m, "%lld %s %llu %#llx %llu %d\n", event->time_ns, event->name,
			   event->offset, event->asked, event->got, event->error);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(ivshmem_events);

static const struct {
	const char *name;
	size_t offset;
	umode_t mode;
} ivshmem_values[] = {
#define PARAM(name)	{ #name, offsetof(struct ivshmem_device, params.name), 0600 }
#define REFUSE(name, state)	{ "refuse_" #name,						\
	offsetof(struct ivshmem_device, params.refuse[VFIO_DEVICE_STATE_##state]), 0600 }
#define COUNT(name)	{ #name, offsetof(struct ivshmem_device, name), 0400 }
	PARAM(migration_flags),
	PARAM(pre_copy_bytes),
	PARAM(data_size),
	PARAM(read_most),
	PARAM(read_delay_us),
	PARAM(read_error_at),
	PARAM(write_most),
	PARAM(write_delay_us),
	PARAM(write_error_at),
	PARAM(dirty_all),
	REFUSE(stop, STOP),
	REFUSE(running, RUNNING),
	REFUSE(stop_copy, STOP_COPY),
	REFUSE(resuming, RESUMING),
	REFUSE(running_p2p, RUNNING_P2P),
	REFUSE(pre_copy, PRE_COPY),
	REFUSE(pre_copy_p2p, PRE_COPY_P2P),
	COUNT(read_bytes),
	COUNT(written_bytes),
	COUNT(events_lost),
};

static void ivshmem_add_debugfs(struct ivshmem_device *ivdev)
{
	size_t i;

	ivdev->debugfs = debugfs_create_dir(pci_name(ivdev->core.pdev), debugfs_root);
	debugfs_create_file_size("state", 0600, ivdev->debugfs, ivdev, &ivshmem_state_fops,
				 ivdev->bar_bytes);
	debugfs_create_file("events", 0400, ivdev->debugfs, ivdev, &ivshmem_events_fops);
	for (i = 0; i < ARRAY_SIZE(ivshmem_values); i++)
		debugfs_create_u64(ivshmem_values[i].name, ivshmem_values[i].mode, ivdev->debugfs,
				   (void *)ivdev + ivshmem_values[i].offset);
}

/* -- The device --------------------------------------------------------------------------- */

static int ivshmem_init_dev(struct vfio_device *vdev)
{
	struct ivshmem_device *ivdev = to_ivshmem(vdev);
	int ret;

	ivdev->events = kvcalloc(LOG_EVENTS, sizeof(*ivdev->events), GFP_KERNEL);
	if (!ivdev->events)
		return -ENOMEM;
	ret = vfio_pci_core_init_dev(vdev);
	if (ret) {
		kvfree(ivdev->events);
		return ret;
	}
	mutex_init(&ivdev->state_mutex);
	spin_lock_init(&ivdev->events_lock);
	ivdev->mig_state = VFIO_DEVICE_STATE_RUNNING;
	ivdev->params.migration_flags = VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P |
					VFIO_MIGRATION_PRE_COPY;
	ivdev->params.data_size = IVSHMEM_NONE;
	ivdev->params.read_error_at = IVSHMEM_NONE;
	ivdev->params.write_error_at = IVSHMEM_NONE;
	vdev->migration_flags = ivdev->params.migration_flags;
	vdev->mig_ops = &ivshmem_migration_ops;
	/* Without it the core can start a log, and not report it. */
	if (IS_ENABLED(CONFIG_IOMMUFD_DRIVER))
		vdev->log_ops = &ivshmem_log_ops;
	return 0;
}

static void ivshmem_release_dev(struct vfio_device *vdev)
{
	struct ivshmem_device *ivdev = to_ivshmem(vdev);

	mutex_destroy(&ivdev->state_mutex);
	kvfree(ivdev->events);
	vfio_pci_core_release_dev(vdev);
}

static int ivshmem_open_device(struct vfio_device *vdev)
{
	struct ivshmem_device *ivdev = to_ivshmem(vdev);
	int ret;

	ret = vfio_pci_core_enable(&ivdev->core);
	if (ret)
		return ret;
	scoped_guard(mutex, &ivdev->state_mutex) {
		ivdev->mig_state = VFIO_DEVICE_STATE_RUNNING;
		ivdev->is_logging = false;
	}
	vdev->migration_flags = READ_ONCE(ivdev->params.migration_flags);
	scoped_guard(spinlock, &ivdev->events_lock)
		ivdev->event_count = 0;
	WRITE_ONCE(ivdev->events_lost, 0);
	vfio_pci_core_finish_enable(&ivdev->core);
	return 0;
}

static void ivshmem_close_device(struct vfio_device *vdev)
{
	struct ivshmem_device *ivdev = to_ivshmem(vdev);

	down_write(&ivdev->core.memory_lock);	/* no data_fd uses the BAR from here on */
	scoped_guard(mutex, &ivdev->state_mutex)
		ivshmem_close_file(ivdev);
	up_write(&ivdev->core.memory_lock);
	vfio_pci_core_close_device(vdev);
}

/* A read of PCI_COMMAND shows the memory decoding that the user has switched on. */
static ssize_t ivshmem_read_region(struct vfio_device *vdev, char __user *buf, size_t count,
				   loff_t *ppos)
{
	struct ivshmem_device *ivdev = to_ivshmem(vdev);
	loff_t pos = *ppos & VFIO_PCI_OFFSET_MASK, copy_offset;
	size_t copy_count, register_offset;
	bool is_config = VFIO_PCI_OFFSET_TO_INDEX(*ppos) == VFIO_PCI_CONFIG_REGION_INDEX;
	__le16 command = 0;
	ssize_t ret;

	ret = vfio_pci_core_read(vdev, buf, count, ppos);
	if (ret <= 0 || !is_config ||
	    !vfio_pci_core_range_intersect_range(pos, ret, PCI_COMMAND, sizeof(command),
						 &copy_offset, &copy_count, &register_offset))
		return ret;
	if (copy_from_user((u8 *)&command + register_offset, buf + copy_offset, copy_count))
		return -EFAULT;
	if (!(ivdev->core.vconfig[PCI_COMMAND] & PCI_COMMAND_MEMORY))
		command &= ~cpu_to_le16(PCI_COMMAND_MEMORY);
	if (copy_to_user(buf + copy_offset, (u8 *)&command + register_offset, copy_count))
		return -EFAULT;
	return ret;
}

static const struct vfio_device_ops ivshmem_ops = {
	.name = "ivshmem-vfio-pci",
	.init = ivshmem_init_dev,
	.release = ivshmem_release_dev,
	.open_device = ivshmem_open_device,
	.close_device = ivshmem_close_device,
	.ioctl = vfio_pci_core_ioctl,
	.device_feature = vfio_pci_core_ioctl_feature,
	.read = ivshmem_read_region,
	.write = vfio_pci_core_write,
	.mmap = vfio_pci_core_mmap,
	.request = vfio_pci_core_request,
	.match = vfio_pci_core_match,
	.bind_iommufd = vfio_iommufd_physical_bind,
	.unbind_iommufd = vfio_iommufd_physical_unbind,
	.attach_ioas = vfio_iommufd_physical_attach_ioas,
	.detach_ioas = vfio_iommufd_physical_detach_ioas,
};

static int ivshmem_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct ivshmem_device *ivdev;
	int ret;

	/* So that the BAR can be read and written while no user has the device open. */
	ret = pci_enable_device(pdev);
	if (ret)
		return ret;
	ivdev = vfio_alloc_device(ivshmem_device, core.vdev, &pdev->dev, &ivshmem_ops);
	if (IS_ERR(ivdev)) {
		ret = PTR_ERR(ivdev);
		goto out_disable;
	}
	/* What SeaBIOS has set, and QEMU does not migrate. */
	pci_read_config_word(pdev, PCI_COMMAND, &ivdev->command);
	pci_write_config_word(pdev, PCI_COMMAND, ivdev->command & ~PCI_COMMAND_SERR);
	ivdev->bar_bytes = pci_resource_len(pdev, IVSHMEM_BAR);
	ivdev->bar = pci_iomap(pdev, IVSHMEM_BAR, 0);
	if (!ivdev->bar) {
		ret = -ENODEV;
		goto out_restore;
	}
	dev_set_drvdata(&pdev->dev, &ivdev->core);
	ret = vfio_pci_core_register_device(&ivdev->core);
	if (ret)
		goto out_unmap;
	ivshmem_add_debugfs(ivdev);
	return 0;

out_unmap:
	pci_iounmap(pdev, ivdev->bar);
out_restore:
	pci_write_config_word(pdev, PCI_COMMAND, ivdev->command);
	vfio_put_device(&ivdev->core.vdev);
out_disable:
	pci_disable_device(pdev);
	return ret;
}

static void ivshmem_remove(struct pci_dev *pdev)
{
	struct vfio_pci_core_device *core = dev_get_drvdata(&pdev->dev);
	struct ivshmem_device *ivdev = container_of(core, struct ivshmem_device, core);

	debugfs_remove_recursive(ivdev->debugfs);
	vfio_pci_core_unregister_device(core);
	pci_iounmap(pdev, ivdev->bar);
	pci_write_config_word(pdev, PCI_COMMAND, ivdev->command);
	vfio_put_device(&core->vdev);
	pci_disable_device(pdev);
}

static const struct pci_device_id ivshmem_ids[] = {
	{ PCI_DRIVER_OVERRIDE_DEVICE_VFIO(PCI_VENDOR_ID_REDHAT_QUMRANET, IVSHMEM_DEVICE_ID) },
	{}
};
MODULE_DEVICE_TABLE(pci, ivshmem_ids);

static const struct pci_error_handlers ivshmem_error_handlers = {
	.reset_done = ivshmem_reset_done,
	.error_detected = vfio_pci_core_aer_err_detected,
};

static struct pci_driver ivshmem_driver = {
	.name = "ivshmem_vfio_pci",
	.id_table = ivshmem_ids,
	.probe = ivshmem_probe,
	.remove = ivshmem_remove,
	.err_handler = &ivshmem_error_handlers,
	.driver_managed_dma = true,
};

static int __init ivshmem_init(void)
{
	int ret;

	debugfs_root = debugfs_create_dir("ivshmem_vfio_pci", NULL);
	ret = pci_register_driver(&ivshmem_driver);
	if (ret)
		debugfs_remove_recursive(debugfs_root);
	return ret;
}
module_init(ivshmem_init);

static void __exit ivshmem_exit(void)
{
	pci_unregister_driver(&ivshmem_driver);
	debugfs_remove_recursive(debugfs_root);
}
module_exit(ivshmem_exit);

MODULE_LICENSE("GPL");
MODULE_INFO(import_ns, "IOMMUFD");
MODULE_DESCRIPTION("VFIO variant driver for ivshmem-plain, whose state is its BAR 2; for tests");
