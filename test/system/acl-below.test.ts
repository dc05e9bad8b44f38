/** An access control list that a file is given below the mount holds in it, also under a name by which the kernel meets the file for the first time. */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { run } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

/** As the kernel has it: owner rw-, user 1234 r--, group ---, mask r--, others ---. */
const ACL = '02000000 01000600ffffffff 02000400d2040000 04000000ffffffff 10000400ffffffff 20000000ffffffff'.replaceAll(
  ' ',
  '',
)

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'an access control list that is set below', () => {
  test.each([
    ['hard link', 'ln'],
    ['new name', 'mv'],
  ])('holds under a %s', async (_, program) => {
    await using xfs = await loopFilesystem('xfs')
    fs.chmodSync(xfs.path, 0o755)
    fs.writeFileSync(`${xfs.path}/file`, 'content', { mode: 0o600 })
    await settle()
    await using mount = await mounted(xfs.path, { flags: { timeout: 100, allowOther: true } })
    await using root = startClient()
    await using user = startClient(['setpriv', '--reuid', '1234', '--regid', '1234', '--clear-groups'])
    await expect(user.run('os.open(path, os.O_RDONLY)', { path: `${mount.path}/file` })).rejects.toThrow('EACCES')
    await expect(
      root.run('os.getxattr(path, acl)', { path: `${mount.path}/file`, acl: 'system.posix_acl_access' }),
    ).rejects.toThrow('ENODATA')

    run(program, `${xfs.path}/file`, `${xfs.path}/other`)
    await root.run('os.setxattr(path, acl, bytes.fromhex(value))', { path: `${xfs.path}/other`, value: ACL })
    expect(await root.value('os.getxattr(path, acl).hex()', { path: `${mount.path}/other` })).toBe(ACL)
    await user.run('os.open(path, os.O_RDONLY)', { path: `${mount.path}/other` })
  })
})
