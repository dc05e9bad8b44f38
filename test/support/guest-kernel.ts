/** The kernel for virtual machines that `scripts/setup.mjs` unpacked, and what a guest needs to start: modules and an initramfs. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { ROOT } from './sources.ts'

const KERNEL = path.join(ROOT, 'build/guest')

/** Why no guest can be started here; undefined where it can. */
export function whyNoGuest(): string | undefined {
  return fs.existsSync(KERNEL) ? undefined : 'no kernel in build/guest: node scripts/setup.mjs test'
}

export function findKernel(): string {
  const boot = path.join(KERNEL, 'boot')
  return path.join(boot, fs.readdirSync(boot).find((name) => name.startsWith('vmlinuz'))!)
}

/**
 * Copies modules, and those that they need, to the directory `target`. Returns their names in an order in which they can be inserted. What this
 * kernel has built in, or has not at all, is left out.
 */
export function copyModules(names: readonly string[], target: string): string[] {
  const files = new Map<string, string>()
  for (const file of fs.readdirSync(KERNEL, { recursive: true, encoding: 'utf8' })) {
    const name = /([^/]*)\.ko(\.xz)?$/.exec(file)?.[1]
    if (name !== undefined) files.set(name.replaceAll('-', '_'), file)
  }
  const copied: string[] = []
  const copy = (name: string): void => {
    const file = files.get(name)
    if (file === undefined || copied.includes(name)) return
    const module = path.join(target, `${name}.ko`)
    fs.copyFileSync(path.join(KERNEL, file), file.endsWith('.xz') ? `${module}.xz` : module)
    if (file.endsWith('.xz')) execFileSync('xz', ['-d', `${module}.xz`])
    const needs = /\0depends=([^\0]*)\0/.exec(fs.readFileSync(module, 'latin1'))?.[1] ?? ''
    for (const need of needs.split(',').filter((name) => name !== '')) copy(need.replaceAll('-', '_'))
    copied.push(name)
  }
  for (const name of names) copy(name)
  return copied
}

/** Packs a directory as an initramfs. Several of them, one after the other in one file, are one. */
export function packInitramfs(tree: string, file: string): void {
  execFileSync('sh', ['-c', 'cd "$1" && find . | cpio -o -H newc --quiet -R 0:0 > "$2"', 'sh', tree, file])
}

/** BusyBox, linked statically. */
export function busybox(): string {
  return ['/bin/busybox', '/usr/bin/busybox'].find((file) => fs.existsSync(file)) ?? 'busybox'
}
