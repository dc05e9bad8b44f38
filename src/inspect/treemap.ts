/** Directories as a map of areas: nested rectangles whose area is bytes. Layout by d3-hierarchy, "squarified". */
import { type HierarchyRectangularNode, hierarchy, treemap, treemapSquarify } from 'd3-hierarchy'
import { joinPath, NO_DIRECTORY } from './directories.ts'
import type { Measurement } from './measure.ts'

/** What the areas stand for. */
interface View {
  /** Bytes of a directory that make its area. */
  area: Float64Array
  /** Bytes of these that are one copy too many. */
  surplus: Float64Array
}

/** A rectangle; coordinates in percent of the map. A directory comes before what is in it. */
export interface Tile {
  left: number
  top: number
  width: number
  height: number
  /** 0 for the whole. */
  depth: number
  /** The directory's own files and the directories too small to be drawn, as against a directory with tiles in it. */
  isRest: boolean
  /** There are tiles in it. */
  isParent: boolean
  name: string
  path: string
  area: number
  surplus: number
}

interface Node {
  name: string
  path: string
  isRest: boolean
  area: number
  surplus: number
  children?: Node[]
}

/** Directories with less than this part of the whole are drawn with their parent's rest: at most some 4,000 tiles. */
const PART_MIN = 1 / 2000
const DEPTH_MAX = 12
/** Nominal size: text in the tiles is laid out for it. */
const MAP_WIDTH = 1200
const MAP_HEIGHT = 660
const HEADING = 19

/** The tiles of all directories that were measured; none if nothing has an area. */
export function treemapTiles(measurement: Measurement, view: View): Tile[] {
  const root = nodeTree(measurement, view)
  if (root.area === 0) return []
  const layout = treemap<Node>()
    .tile(treemapSquarify.ratio(1.4))
    .size([MAP_WIDTH, MAP_HEIGHT])
    .paddingInner(2)
    .paddingOuter(2)
    .paddingTop((node) => (node.depth === 0 ? 0 : HEADING))
  const nodes = hierarchy(root)
    .sum((node) => (node.children === undefined ? node.area : 0))
    .sort((a, b) => (b.value ?? 0) - (a.value ?? 0))
  return layout(nodes).descendants().filter(isVisible).map(tileOf)
}

function isVisible(node: HierarchyRectangularNode<Node>): boolean {
  return node.x1 - node.x0 >= 1 && node.y1 - node.y0 >= 1
}

function tileOf({ x0, x1, y0, y1, depth, children, data }: HierarchyRectangularNode<Node>): Tile {
  const { name, path, isRest, area, surplus } = data
  return {
    left: (x0 / MAP_WIDTH) * 100,
    top: (y0 / MAP_HEIGHT) * 100,
    width: ((x1 - x0) / MAP_WIDTH) * 100,
    height: ((y1 - y0) / MAP_HEIGHT) * 100,
    isParent: children !== undefined,
    ...{ depth, isRest, name, path, area, surplus },
  }
}

/** The directories that are large enough, under one root. */
function nodeTree({ directories }: Measurement, { area, surplus }: View): Node {
  const childrenOf = new Map<number, number[]>()
  let total = 0
  for (const directory of directories.kept()) {
    const parent = directories.parent[directory]!
    if (parent === NO_DIRECTORY) total += area[directory]!
    const siblings = childrenOf.get(parent)
    if (siblings === undefined) childrenOf.set(parent, [directory])
    else siblings.push(directory)
  }

  const build = (directory: number, parentPath: string, depth: number): Node => {
    const name = directories.name[directory]!
    const path = parentPath === '' ? name : joinPath([parentPath, name])
    const node: Node = { name, path, isRest: false, area: area[directory]!, surplus: surplus[directory]! }
    const large = (childrenOf.get(directory) ?? []).filter(
      (child) => area[child]! > 0 && area[child]! >= total * PART_MIN,
    )
    if (large.length === 0 || depth === DEPTH_MAX) return node
    node.children = large.map((child) => build(child, path, depth + 1))
    const restArea = node.area - sumOf(node.children, 'area')
    const restSurplus = Math.max(0, node.surplus - sumOf(node.children, 'surplus'))
    if (restArea > 0) {
      node.children.push({
        name: 'files',
        path,
        isRest: true,
        area: restArea,
        surplus: Math.min(restSurplus, restArea),
      })
    }
    return node
  }

  const roots = (childrenOf.get(NO_DIRECTORY) ?? []).filter((root) => area[root]! > 0).map((root) => build(root, '', 1))
  const only = roots.length === 1 ? roots[0]! : undefined
  return only ?? { name: '', path: '', isRest: false, area: total, surplus: sumOf(roots, 'surplus'), children: roots }
}

function sumOf(nodes: Node[], field: 'area' | 'surplus'): number {
  return nodes.reduce((sum, node) => sum + node[field], 0)
}
