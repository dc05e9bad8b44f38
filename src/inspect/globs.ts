/**
 * Which files are looked at: globs against the path from the argument, `/` between components.
 *
 *     *          any characters of a name, also a dot at its beginning
 *     ?          one character of a name
 *     [a-z] [!a] one of these characters, one of all others; [[:digit:]] and its like
 *     **         as a whole component: any number of directories; at the end: the directory before it, and all below
 *     {a,b}      the same as two globs, one with a and one with b
 *     \x         x, whatever x means otherwise
 *
 * Everything else stands for itself, as in find(1) and in a shell without `extglob`: parentheses, `|`, quotes, a brace or bracket
 * that is not closed. What a glob excludes must not depend on what else a matcher knows: `dedupe --apply` believes it. Hence no library: picomatch 4 takes bare
 * parentheses for those of a regular expression and drops quotes, minimatch 10 throws at a class beside a hyphen or a line break.
 */
import { UserError } from '../util/user-error.ts'
import type { Entry } from './walk.ts'

export interface Globs {
  /** Files to look at; all if there is none. */
  include: readonly string[]
  /** Files and directories to leave out, with everything below. */
  exclude: readonly string[]
}

/** Longer than any path that a system call takes. */
const CHARACTERS_MAX = 4096
/** Of all globs that one with braces stands for. */
const EXPANDED_CHARACTERS_MAX = 2 ** 16

/** Decides about an entry of the walk. A pattern without a slash (but for one at its
 * end) goes by the name alone, at whatever depth; a slash at its beginning ties it to the top. */
export function globFilter({ include, exclude }: Globs): (entry: Entry, isDirectory: boolean) => boolean {
  if (include.length === 0 && exclude.length === 0) return () => true
  const isIncluded = include.length === 0 ? () => true : matcher(include)
  const isExcluded = exclude.length === 0 ? () => false : matcher(exclude)
  return (entry, isDirectory) => {
    const path = entry.relativePath()
    return !isExcluded(path) && (isDirectory || isIncluded(path))
  }
}

function matcher(globs: readonly string[]): (path: string) => boolean {
  const predicates = globs.flatMap(parseGlob)
  return (path) => {
    const components = path.split('/')
    return predicates.some((holds) => holds(components))
  }
}

/** Does what a part of a glob says hold for a thing: a character, a name, the components of a path? */
type Predicate<Thing> = (thing: Thing) => boolean

/**
 * Predicates of the components of relative paths, one of which holds where the glob matches. Throws a {@link UserError} where it can match
 * nothing, or is too long.
 */
export function parseGlob(glob: string): Predicate<readonly string[]>[] {
  if (glob.length > CHARACTERS_MAX) throw new UserError(`A glob has at most ${CHARACTERS_MAX} characters.`)
  return expandBraces(glob, { characters: EXPANDED_CHARACTERS_MAX }).map((each) => {
    // A slash that is escaped is one.
    const plain = each.replace(/\\(.)/gsu, (escaped, character) => (character === '/' ? '/' : escaped))
    const components = plain
      .replace(/^\.\//, '')
      .split(/\/+/)
      .filter((component) => component !== '')
    if (components.length === 0) throw new UserError('It names nothing below PATH.')
    if (components.length === 1 && !plain.startsWith('/')) components.unshift('**')
    return matchRuns(runsOf(components, (component) => (component === '**' ? ANYTHING : parseName(component))))
  })
}

/** The globs without alternatives that `glob` stands for, in order. */
function expandBraces(glob: string, budget: { characters: number }): string[] {
  for (let i = 0; i < glob.length; i++) {
    if (glob[i] === '\\') i++
    else if (glob[i] === '{') {
      const group = braceGroup(glob, i)
      if (group === undefined) continue
      const ends = expandBraces(glob.slice(group.end), budget)
      const all: string[] = []
      for (const middle of group.alternatives.flatMap((alternative) => expandBraces(alternative, budget)))
        for (const end of ends) {
          const expanded = glob.slice(0, i) + middle + end
          budget.characters -= expanded.length + 1
          if (budget.characters < 0) throw new UserError('It stands for too many globs: use fewer braces.')
          all.push(expanded)
        }
      return all
    }
  }
  return [glob]
}

/** What stands between the commas of the braces that open at `start`, and where they end; undefined where they are not closed, or have no comma. */
function braceGroup(glob: string, start: number): { alternatives: string[]; end: number } | undefined {
  const alternatives: string[] = []
  let depth = 0
  let from = start + 1
  for (let i = start; i < glob.length; i++) {
    const character = glob[i]
    if (character === '\\') i++
    else if (character === '{') depth++
    else if (character === ',' && depth === 1) {
      alternatives.push(glob.slice(from, i))
      from = i + 1
    } else if (character === '}' && --depth === 0) {
      if (alternatives.length === 0) return undefined
      return { alternatives: [...alternatives, glob.slice(from, i)], end: i + 1 }
    }
  }
  return undefined
}

/** Stands for any number of things, also none: `*` among the characters of a name, `**` among the components of a path. */
const ANYTHING = Symbol('any number')
type Pattern<Thing> = Predicate<Thing> | typeof ANYTHING

/** Predicates of one thing after the other, without {@link ANYTHING}. */
type Run<Thing> = readonly Predicate<Thing>[]

/** The runs between which `parts` have {@link ANYTHING}: one more than there is of it, also empty ones. */
function runsOf<Part, Thing>(parts: readonly Part[], parse: (part: Part) => Pattern<Thing>): Run<Thing>[] {
  const runs: Predicate<Thing>[][] = [[]]
  for (const part of parts) {
    const pattern = parse(part)
    if (pattern === ANYTHING) runs.push([])
    else runs.at(-1)!.push(pattern)
  }
  return runs
}

/**
 * Are things as `runs` say, the first at their beginning, the last at their end, the others in order between them? The leftmost
 * place of each leaves most to those after it, so no other need be tried. A regular expression would try all: with *n* stars the time would grow with the
 * length to the power of *n*.
 */
function matchRuns<Thing>(runs: readonly Run<Thing>[]): Predicate<readonly Thing[]> {
  const first = runs[0]!
  const last = runs.at(-1)!
  const between = runs.slice(1, -1)
  if (runs.length === 1) return (things) => things.length === first.length && holdsAt(first, things, 0)
  return (things) => {
    const end = things.length - last.length
    if (end < first.length || !holdsAt(last, things, end) || !holdsAt(first, things, 0)) return false
    let at = first.length
    for (const run of between) {
      while (at + run.length <= end && !holdsAt(run, things, at)) at++
      at += run.length
      if (at > end) return false
    }
    return true
  }
}

function holdsAt<Thing>(run: Run<Thing>, things: readonly Thing[], at: number): boolean {
  for (let i = 0; i < run.length; i++) if (!run[i]!(things[at + i]!)) return false
  return true
}

/** What a component of a glob says of a name. */
function parseName(component: string): Predicate<string> {
  const matches = matchRuns(runsOf(component.match(TOKEN)!, parseToken))
  // A character is a character, also beyond U+FFFF.
  return (name) => matches([...name])
}

/** A member of a bracket: a class, an escaped character, or a character. The first one may be a closing bracket. */
const MEMBER = /\[:[a-z]+:\]|\\[^/]|[^\]/\\]/
const BRACKET = new RegExp(`\\[(?:([!^])|(?![!^]))((?:${MEMBER.source}|\\])(?:${MEMBER.source})*)\\]`, 'su')
/** Stars in a row are one. A backslash at the very end is one. */
const TOKEN = new RegExp(`${BRACKET.source}|\\*+|\\\\?.`, 'gsu')
const RANGE = /^(\\.|[^\\])-(\\.|[^\\])/su

const CLASSES: Record<string, string> = {
  alnum: '\\p{L}\\p{N}',
  alpha: '\\p{L}',
  blank: ' \\t',
  cntrl: '\\p{Cc}',
  digit: '0-9',
  graph: '\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}',
  lower: '\\p{Ll}',
  print: '\\p{L}\\p{M}\\p{N}\\p{P}\\p{S} ',
  punct: '\\p{P}\\p{S}',
  space: '\\s',
  upper: '\\p{Lu}',
  xdigit: '0-9A-Fa-f',
}

function parseToken(token: string): Pattern<string> {
  if (token.startsWith('*')) return ANYTHING
  if (token === '?') return () => true
  const [bracket, negation, members] = BRACKET.exec(token) ?? []
  if (bracket !== undefined) return characterClass(members!, negation !== undefined)
  const literal = unescaped(token)
  return (character) => character === literal
}

function characterClass(members: string, isNegated: boolean): Predicate<string> {
  let source = ''
  for (let rest = members; rest !== ''; ) {
    const [named, name = ''] = /^\[:([a-z]+):\]/.exec(rest) ?? []
    const [range, first = '', last = ''] = RANGE.exec(rest) ?? []
    const [member = ''] = /^\\?./su.exec(rest) ?? []
    if (named !== undefined) {
      if (CLASSES[name] === undefined) throw new UserError(`There is no class of characters ${named}.`)
      source += CLASSES[name]
    } else if (range !== undefined) {
      const [from, to] = [unescaped(first), unescaped(last)]
      // One that ends before it begins has no characters.
      if (from.codePointAt(0)! <= to.codePointAt(0)!) source += `${literal(from)}-${literal(to)}`
    } else source += literal(unescaped(member))
    rest = rest.slice((named ?? range ?? member).length)
  }
  const expression = new RegExp(`^[${isNegated ? '^' : ''}${source}]$`, 'su')
  return (character) => expression.test(character)
}

const unescaped = (member: string): string => (member.length > 1 && member.startsWith('\\') ? member.slice(1) : member)

/** A character that means itself, also where it would mean something else in the brackets of a regular expression. */
function literal(character: string): string {
  return /\w/.test(character) ? character : `\\u{${character.codePointAt(0)!.toString(16)}}`
}
