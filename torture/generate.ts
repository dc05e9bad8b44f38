/**
 * Makes programs out of seeds. The generator keeps a rough idea of what exists and what is open, so that most operations have
 * something to work on; it never learns what really happened, so a recipe alone says what the program is.
 */
import { Random } from '../src/sim/random.ts'
import { attributes, MODES, ops as weighted } from './operations.ts'
import type { Argument, Op, Recipe } from './program.ts'
import { isCopy, MAPPINGS, SLOTS } from './program.ts'

/** Operations between two looks at the trees as wholes. */
const AUDIT_EVERY = 250
/**
 * What a file lets whom do is not changed by who works below the mount: for an open file the kernel goes by what it was told when it last asked.
 */
const PERMISSIONS = new Set(['chmod', 'fchmod', 'chown', 'fchown', 'setxattr'])
const NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'] as const

export type Kind = 'file' | 'directory' | 'symlink' | 'other'

/** What the generator believes about an open file. */
export interface Opened {
  path: string
  flags: number
  /** Has been mapped. A mapping that is passed through does not keep the locks of an open file alive that is closed; natively it does. */
  mapped?: boolean
  /** May have such locks. */
  locked?: boolean
}

export class Generator {
  readonly random: Random
  readonly recipe: Recipe
  /** Believed to exist; directories too. */
  readonly names = new Map<string, Kind>([['.', 'directory']])
  readonly opened: (Opened | undefined)[][]
  readonly mapped: ({ length: number; shared: boolean } | undefined)[][]
  readonly #program: Op[] = []
  #process = 0
  #stamp = 100

  constructor(recipe: Recipe) {
    this.recipe = recipe
    this.random = new Random(recipe.seed)
    this.opened = Array.from({ length: recipe.processes }, () => new Array(SLOTS))
    this.mapped = Array.from({ length: recipe.processes }, () => new Array(MAPPINGS))
  }

  generate(): Op[] {
    this.#begin()
    let untilAudit = AUDIT_EVERY
    while (this.#program.length < this.recipe.ops) {
      // Turns of a few operations each.
      if (this.random.chance(0.25)) this.#process = this.random.below(this.recipe.processes)
      weighted(this)
      if (--untilAudit === 0) {
        this.emit('audit')
        this.emit('tick')
        untilAudit = AUDIT_EVERY
      }
    }
    return this.#program
  }

  get process(): number {
    return this.#process
  }

  /** The next process's user is root? */
  get isRoot(): boolean {
    return this.#process % this.recipe.users === 0
  }

  emit(call: string, ...args: Argument[]): void {
    const { processes, belowProcesses } = this.recipe
    if (PERMISSIONS.has(call) && this.#process >= processes - belowProcesses) return
    // An open file may be as it was when it was opened, and nobody says so: something else is copied, and the trees stay different.
    if (isCopy({ call }) && belowProcesses > 0) return
    this.#program.push({ index: this.#program.length, process: this.#process, call, args })
  }

  /** As {@link emit}, by root and below the mount. */
  emitBelow(call: string, ...args: Argument[]): void {
    this.#program.push({ index: this.#program.length, process: 0, call, args, below: true })
  }

  /** A number for bytes that were never written before; sometimes an old one, so that files hold equal bytes. */
  stamp(): number {
    return this.random.chance(0.1) ? this.random.between(1, 4) : this.#stamp++
  }

  /** A name that is believed to exist and of a kind, or any. */
  existing(...kinds: Kind[]): string {
    const fitting = [...this.names].filter(([name, kind]) => name !== '.' && kinds.includes(kind)).map(([name]) => name)
    return fitting.length > 0 && this.random.chance(0.95) ? this.random.pick(fitting) : this.anyName()
  }

  directory(): string {
    const directories = [...this.names].filter(([, kind]) => kind === 'directory').map(([name]) => name)
    return this.random.pick(directories)
  }

  anyName(): string {
    const directory = this.random.chance(0.05) ? this.random.pick(NAMES) : this.directory()
    const name = this.random.pick(NAMES)
    // No deeper than three: what is renamed into a directory below itself is a case of its own.
    return directory === '.' || directory.split('/').length > 2 ? name : `${directory}/${name}`
  }

  add(name: string, kind: Kind): void {
    if (!this.names.has(name)) this.names.set(name, kind)
  }

  remove(name: string): void {
    for (const other of [...this.names.keys()])
      if (other === name || other.startsWith(`${name}/`)) this.names.delete(other)
  }

  rename(from: string, to: string): void {
    if (from === to || to.startsWith(`${from}/`) || !this.names.has(from)) return
    const moved = [...this.names].filter(([name]) => name === from || name.startsWith(`${from}/`))
    this.remove(to)
    this.remove(from)
    for (const [name, kind] of moved) this.names.set(to + name.slice(from.length), kind)
  }

  /** A slot with something open in it, if there is one. */
  openSlot(wanted: (opened: Opened) => boolean = () => true): number {
    const slots = this.opened[this.#process]!
    const fitting = slots.map((opened, slot) => (opened && wanted(opened) ? slot : -1)).filter((slot) => slot >= 0)
    return fitting.length > 0 && this.random.chance(0.97) ? this.random.pick(fitting) : this.random.below(SLOTS)
  }

  /** Files of a mebibyte or two, with clones of each: what a mount that shares memory is about. */
  #begin(): void {
    const { random } = this
    for (const [i, name] of ['big0', 'big1'].entries()) {
      this.emitBelow('make', name, random.between(256, 512) * 4096 + random.pick([0, 0, 1, 2000]), i + 1, 0o666)
      this.add(name, 'file')
      for (let clone = 0; clone < 2; clone++) {
        this.emitBelow('clone', name, `${name}c${clone}`, random.pick([0o666, 0o644, 0o777]))
        this.add(`${name}c${clone}`, 'file')
      }
    }
    this.emit('mkdir', 'd0', 0o777)
    this.emit('mkdir', 'd1', 0o1777)
    this.add('d0', 'directory')
    this.add('d1', 'directory')
    if (random.chance(0.5)) this.emit('setxattr', 'd0', 'system.posix_acl_default', attributes.acl(random), 0)
    this.emit('chmod', 'd1', random.pick(MODES) | 0o777)
  }
}

export const generate = (recipe: Recipe): Op[] => new Generator(recipe).generate()
