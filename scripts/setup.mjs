// Makes a fresh clone ready to run: `node scripts/setup.mjs [test|demo|bench]`. Without any dependency of its own, because
// it is what installs them. It does only what is not done yet, and in this order:
//   1. npm dependencies, when node_modules is missing or differs from package-lock.json;
//   2. Debian packages that the purpose needs, where it runs as root and apt-get exists; else it says what is missing
//      and goes on: the tests that need it are skipped, each with its reason;
//   3. a kernel for virtual machines, unpacked from Debian's package to build/guest and not installed;
//   4. for the tests, as root: /dev/fuse for ordinary users, where no udev has seen to it;
//   5. dist/, from src/.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** Programs of the system (and a header), the Debian package that brings each, and what they are wanted for. */
const PROGRAMS = [
  { program: 'mount', package: 'mount', purposes: ['test', 'demo', 'bench'] },
  { program: 'losetup', package: 'mount', purposes: ['test', 'demo', 'bench'] },
  { program: 'mkfs.xfs', package: 'xfsprogs', purposes: ['test', 'demo', 'bench'] },
  { program: 'mkfs.btrfs', package: 'btrfs-progs', purposes: ['test', 'bench'] },
  { program: 'mkfs.ext4', package: 'e2fsprogs', purposes: ['test', 'bench'] },
  { program: 'fusermount3', package: 'fuse3', purposes: ['test', 'bench'] },
  { program: 'bindfs', package: 'bindfs', purposes: ['test', 'bench'] },
  { program: 'setfattr', package: 'attr', purposes: ['test'] },
  { program: 'setfacl', package: 'acl', purposes: ['test'] },
  { program: 'rsync', package: 'rsync', purposes: ['test'] },
  { program: 'python3', package: 'python3', purposes: ['test'] },
  { program: 'systemd', package: 'systemd', purposes: ['test'] },
  { program: 'unshare', package: 'util-linux', purposes: ['test'] },
  { program: 'zsh', package: 'zsh', purposes: ['test'] },
  { program: 'fish', package: 'fish', purposes: ['test'] },
  { program: 'fio', package: 'fio', purposes: ['test', 'bench'] },
  { program: 'chromium', package: 'chromium', purposes: ['test'] },
  { program: 'git', package: 'git', purposes: ['test', 'bench'] },
  { program: 'gcc', package: 'gcc', purposes: ['test'] },
  { program: '/usr/include/linux/fuse.h', package: 'libc6-dev', purposes: ['test'] },
  { program: 'make', package: 'make', purposes: ['test'] },
  { program: 'qemu-system-x86_64', package: 'qemu-system-x86', purposes: ['test', 'bench'] },
  { program: 'qemu-io', package: 'qemu-utils', purposes: ['test'] },
  { program: 'busybox', package: 'busybox-static', purposes: ['test', 'bench'] },
  { program: 'cpio', package: 'cpio', purposes: ['test', 'bench'] },
  { program: 'initdb', package: 'postgresql', purposes: ['test', 'bench'] },
]

const root = fileURLToPath(new URL('..', import.meta.url))
const purpose = process.argv[2]

checkPlatform()
installDependencies()
installPrograms()
if (purpose === 'test' || purpose === 'bench') unpackGuestKernel()
if (purpose === 'test') letUsersMount()
if (purpose === 'test' && process.getuid?.() !== 0)
  say('not root: the system tests are skipped, sudo npm test runs them')
run('compiling', process.execPath, ['scripts/build.mjs'])

function checkPlatform() {
  if (process.platform !== 'linux') fail(`Samepage runs on Linux only, this is ${process.platform}`)
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (major < 20 || (major === 20 && minor < 19)) fail(`Node.js 20.19 or newer is needed, this is ${process.version}`)
}

function installDependencies() {
  if (!isStale()) return
  // No dependency needs its install script, so none is run: koffi brings its binary in a package of its own.
  const flags = [
    'ci',
    '--ignore-scripts',
    '--include=dev',
    '--include=optional',
    '--prefer-offline',
    '--no-audit',
    '--no-fund',
  ]
  const npm = process.env.npm_execpath
  if (npm?.endsWith('.js')) run('installing npm dependencies', process.execPath, [npm, ...flags])
  else run('installing npm dependencies', 'npm', flags)
}

/** Whether what is installed differs from what package-lock.json asks for on this platform. */
function isStale() {
  const wanted = packagesOf('package-lock.json')
  const installed = packagesOf('node_modules/.package-lock.json')
  return Object.entries(wanted).some(([name, { version, optional }]) => {
    if (name === '') return false
    // An optional package may be one for another platform.
    return installed[name] === undefined ? !optional : installed[name].version !== version
  })
}

/** @returns {Record<string, { version: string, optional?: boolean }>} */
function packagesOf(/** @type {string} */ lockFile) {
  const file = path.join(root, lockFile)
  return fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, 'utf8')).packages : {}
}

function installPrograms() {
  const missing = PROGRAMS.filter(({ program, purposes }) => purposes.includes(purpose) && !isOnPath(program))
  if (missing.length === 0) return
  const packages = [...new Set(missing.map((row) => row.package))]
  if (process.getuid?.() !== 0) return note(packages, 'not root, so they are not installed')
  if (!isOnPath('apt-get')) return note(packages, 'there is no apt-get here to install them')
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  say(`installing ${packages.join(' ')}`)
  for (const command of [
    ['update', '-q'],
    ['install', '-q', '-y', '--no-install-recommends', ...packages],
  ]) {
    const { status } = spawnSync('apt-get', command, { stdio: 'inherit', env: environment })
    if (status !== 0) return note(packages, `apt-get ${command[0]} failed`)
  }
}

/** The kernel that Debian makes for virtual machines, for test/support/guest.ts. To install it would set up a boot loader's files. */
function unpackGuestKernel() {
  const target = path.join(root, 'build/guest')
  const alias = 'linux-image-cloud-amd64'
  if (fs.existsSync(target) || process.arch !== 'x64' || !isOnPath('apt-get') || !isOnPath('dpkg-deb')) return
  const { stdout } = spawnSync('apt-cache', ['depends', alias], { encoding: 'utf8' })
  const name = /Depends: (\S+)/.exec(stdout ?? '')?.[1]
  if (name === undefined) return say(`missing: ${alias} (apt-cache does not know it)`)
  say(`unpacking ${name}`)
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-kernel-'))
  try {
    const options = ['-o', 'APT::Sandbox::User=root', '-q']
    if (spawnSync('apt-get', [...options, 'download', name], { cwd: scratch, stdio: 'inherit' }).status !== 0) return
    const file = fs.readdirSync(scratch)[0] ?? ''
    if (spawnSync('dpkg-deb', ['-x', file, 'unpacked'], { cwd: scratch, stdio: 'inherit' }).status !== 0) return
    fs.mkdirSync(path.dirname(target), { recursive: true })
    fs.cpSync(path.join(scratch, 'unpacked'), `${target}.new`, { recursive: true })
    fs.renameSync(`${target}.new`, target)
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true })
  }
}

/**
 * Tests mount as an ordinary user. Where udev runs, its rule for fuse makes the device everybody's; in a container or a small
 * virtual machine without it the node is as the kernel made it: root's alone.
 */
function letUsersMount() {
  const device = '/dev/fuse'
  if (process.getuid?.() !== 0 || !fs.existsSync(device) || (fs.statSync(device).mode & 0o666) === 0o666) return
  say(`chmod 666 ${device}, as udev's rule has it: tests mount as an ordinary user too`)
  fs.chmodSync(device, 0o666)
}

/** Says what is missing and what that means, and goes on. @param {string[]} packages @param {string} why */
function note(packages, why) {
  say(`missing: ${packages.join(' ')} (Debian's names; ${why}).`)
  if (purpose === 'test') say('the tests that need them are skipped and say so.')
  else say(`npm run ${purpose} leaves out what needs them.`)
}

/** @param {string} program */
function isOnPath(program) {
  if (path.isAbsolute(program)) return fs.existsSync(program)
  const directories = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/bin', '/bin']
  // Where Debian puts each version of PostgreSQL.
  const postgresql = '/usr/lib/postgresql'
  if (fs.existsSync(postgresql))
    directories.push(...fs.readdirSync(postgresql).map((version) => path.join(postgresql, version, 'bin')))
  return directories.some((directory) => fs.existsSync(path.join(directory, program)))
}

/** @param {string} what @param {string} command @param {string[]} args */
function run(what, command, args) {
  say(what)
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' })
  if (status !== 0) fail(`${what} failed${error ? `: ${error.message}` : ''}`)
}

/** @param {string} text */
function say(text) {
  console.error(`setup: ${text}`)
}

/** @param {string} text @returns {never} */
function fail(text) {
  say(text)
  process.exit(1)
}
