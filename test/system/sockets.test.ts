/** Sockets and FIFOs: programs meet in them on the same side, in the mount or below it. That they do not across is a known limit, told in the documents. */
import { expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'

const MEET = `
import socket

def meet(bound, connected, name):
    server = socket.socket(socket.AF_UNIX)
    client = socket.socket(socket.AF_UNIX)
    try:
        server.bind(f"{bound}/{name}")
        server.listen()
        client.connect(f"{connected}/{name}")
        client.send(b"hello")
        return server.accept()[0].recv(5).decode()
    except OSError as error: return errno.errorcode[error.errno]
    finally:
        client.close()
        server.close()

def pipe(made, written, read, name):
    os.mkfifo(f"{made}/{name}")
    r = os.open(f"{read}/{name}", os.O_RDONLY | os.O_NONBLOCK)
    try:
        w = os.open(f"{written}/{name}", os.O_WRONLY | os.O_NONBLOCK)
        os.write(w, b"hello")
        os.close(w)
        return os.read(r, 5).decode()
    except OSError as error: return errno.errorcode[error.errno]
    finally: os.close(r)
`

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'sockets and FIFOs', () => {
  test('connect who is on the same side, and nobody across', async () => {
    await using xfs = await loopFilesystem('xfs')
    await using mount = await mounted(xfs.path)
    await using client = startClient()
    await client.run(`above, below = ${JSON.stringify(mount.path)}, ${JSON.stringify(xfs.path)}${MEET}`)
    expect(await client.value('meet(above, above, "a")')).toBe('hello')
    expect(await client.value('meet(below, below, "b")')).toBe('hello')
    expect(await client.value('meet(below, above, "c")')).toBe('ECONNREFUSED')
    expect(await client.value('meet(above, below, "d")')).toBe('ECONNREFUSED')
    // Whoever made it.
    expect(await client.value('pipe(below, above, above, "e")')).toBe('hello')
    expect(await client.value('pipe(above, below, below, "f")')).toBe('hello')
    expect(await client.value('pipe(below, below, above, "g")')).toBe('ENXIO')
  })
})
