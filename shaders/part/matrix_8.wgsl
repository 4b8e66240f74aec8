// Matrices of 8 rows and columns that a subgroup holds together: operands in f16, sums in f32.
const SIDE = 8u;
alias XMatrix = coop_mat8x8<f16, A>;
alias WMatrix = coop_mat8x8<f16, B>;
alias Sums = coop_mat8x8<f32, C>;

// Rows of x, from element `first` of their tile on.
fn x_matrix(first: u32) -> XMatrix { return coopLoadT<XMatrix>(&x_tile[first], STRIDE); }
// Rows of the weight, from element `first` of their tile on, as columns.
fn w_matrix(first: u32) -> WMatrix { return coopLoad<WMatrix>(&w_tile[first], STRIDE); }
// No sums yet, of block 0 to 3 of a team.
fn no_sums(team: u32, block: u32) -> Sums { return Sums(); }
fn multiply_add(x: XMatrix, w: WMatrix, sums: Sums) -> Sums { return coopMultiplyAdd(x, w, sums); }
// Row by row from element `first` of their tile on.
fn store_sums(sums: Sums, first: u32) { coopStoreT(sums, &sums_tile[first], SIDE); }
