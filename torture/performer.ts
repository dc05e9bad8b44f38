/**
 * A process of the cast: reads orders from its standard input, one JSON line each, performs them as its user, and
 * answers each with a line.
 */
import fs from 'node:fs'
import { auditTree, sharingOf } from './audit.ts'
import { AWAY, clearDesk, type Desk, isAsOpened, newDesk, type Place, perform } from './calls.ts'
import { groupsOf, type Op, userId } from './program.ts'
import { sys } from './syscalls.ts'

export type Order =
  | { do: 'begin'; place: Place; belowRoot: string }
  | { do: 'run'; ops: Pick<Op, 'call' | 'args' | 'below'>[] }
  | { do: 'isAsOpened'; slot: number }
  | { do: 'audit'; root: string; content: boolean }
  | { do: 'sharing'; root: string }

const PR_SET_DUMPABLE = 4

becomeUser(Number(process.argv[2]))
let desk: Desk = newDesk(AWAY)
/** For what is done below the mount by a process that otherwise goes through it. */
let below: Desk = desk
for (const line of lines()) fs.writeSync(1, `${JSON.stringify(obey(JSON.parse(line) as Order))}\n`)

function obey(order: Order): unknown {
  switch (order.do) {
    case 'begin':
      clearDesk(desk)
      clearDesk(below)
      process.umask(0)
      desk = newDesk(order.place)
      below = newDesk({ ...AWAY, root: order.belowRoot, readRoot: order.belowRoot })
      return 'ready'
    case 'run':
      return order.ops.map((op) => perform(op.below ? below : desk, op.call, op.args))
    case 'isAsOpened':
      return isAsOpened(desk, order.slot)
    case 'audit':
      return auditTree(order.root, order.content)
    case 'sharing':
      return sharingOf(order.root)
  }
}

function becomeUser(user: number): void {
  process.setgroups?.(groupsOf(user))
  process.setgid?.(userId(user))
  process.setuid?.(userId(user))
  // Else /proc/self, by which an unnamed file gets a name, would be root's.
  sys.prctl(PR_SET_DUMPABLE, 1)
}

/** Lines of the standard input; ends with it. */
function* lines(): Generator<string> {
  const chunk = Buffer.alloc(1 << 16)
  let pending = ''
  for (;;) {
    const got = fs.readSync(0, chunk)
    if (got === 0) return
    pending += chunk.toString('latin1', 0, got)
    for (let end = pending.indexOf('\n'); end >= 0; end = pending.indexOf('\n')) {
      yield pending.slice(0, end)
      pending = pending.slice(end + 1)
    }
  }
}
