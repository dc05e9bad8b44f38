/** A file that was noted when the trees were walked, opened again: only if its name still leads to it. */
import { deviceNumber } from '../inspect/filesystems.ts'
import { encodeName } from '../inspect/names.ts'
import { openQuietly } from '../inspect/quiet-reader.ts'
import { ERRNO } from '../linux/errors.ts'
import { close } from '../linux/file.ts'
import { AT_FDCWD, type Statx } from '../linux/statx.ts'
import type { FileUses } from './file-uses.ts'

/** A descriptor for reading, or -errno: ESTALE if another file has the name now. `stat` is filled with what the file is now. */
export function openCandidate(uses: FileUses, file: number, stat: Statx): number {
  const fd = openQuietly(AT_FDCWD, encodeName(uses.path(file)))
  if (fd < 0) return fd
  const error = stat.ofFd(fd)
  const isSame = error === 0 && deviceNumber(stat) === uses.device[file] && stat.ino === uses.ino[file]
  if (isSame) return fd
  close(fd)
  return error < 0 ? error : -ERRNO.ESTALE
}
