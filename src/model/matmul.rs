//! Matrix products on f32 slices: the only unsafe code of the crate, behind checks.
//!
//! The kernels are those of the `gemm` crate, one thread, chosen at run time by what the processor has. Different
//! instruction sets add in different orders: [`instruction_set`] names the one in use, because results agree to the
//! bit only where it is the same.

#![allow(unsafe_code)]

use gemm::Parallelism;

/// A matrix in a slice: element (i, j) is `values[i * row_stride + j * column_stride]`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `values` as `rows x columns`, row after row.
    ///
    /// # Panics
    /// When there are not `rows * columns` values.
    #[must_use]
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(
            Some(values.len()),
            rows.checked_mul(columns),
            "{rows} rows of {columns} values"
        );
        Self {
            values,
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// The transpose, on the same values.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// `out = a b`, or `out += a b` when `accumulate`; `out` is row-major, `a.rows x b.columns`.
///
/// ```
/// use skewd::model::matmul::{Matrix, multiply};
/// let (a, b) = ([1.0, 2.0], [3.0, 4.0]);
/// let mut out = [0.0];
/// multiply(Matrix::new(&a, 1, 2), Matrix::new(&b, 1, 2).transposed(), false, &mut out);
/// assert_eq!(out, [11.0]);
/// ```
///
/// # Panics
/// When the sizes do not fit together.
pub fn multiply(a: Matrix, b: Matrix, accumulate: bool, out: &mut [f32]) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(
        k, b.rows,
        "columns of the left and rows of the right matrix"
    );
    assert_eq!(
        Some(out.len()),
        m.checked_mul(n),
        "an output of {m} rows of {n} values"
    );
    if k == 0 && !accumulate {
        out.fill(0.0);
    }
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    // Slices hold at most isize::MAX bytes, so every stride and offset fits an isize.
    let stride = |stride: usize| stride as isize;
    // SAFETY: gemm reads lhs at i*rs + p*cs (i < m, p < k), reads rhs at p*rs + j*cs (p < k, j < n), and reads and
    // writes dst at i*n + j (i < m, j < n), nothing else. A `Matrix` is only made by `new`, which checks that the
    // slice holds exactly rows * columns values in row-major order, and `transposed` swaps sizes and strides together,
    // so the largest index is rows * columns - 1 in each. The length of `out` is checked above. `out` is a unique
    // borrow, so it overlaps neither operand; all three are initialised and aligned as slices of f32 are.
    unsafe {
        gemm::gemm::<f32>(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride(n),
            accumulate,
            a.values.as_ptr(),
            stride(a.column_stride),
            stride(a.row_stride),
            b.values.as_ptr(),
            stride(b.column_stride),
            stride(b.row_stride),
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// The instruction set whose kernels multiply here: `avx512f`, `avx2+fma`, `neon` or `scalar`.
#[must_use]
pub fn instruction_set() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "avx512f";
        }
        if std::arch::is_x86_feature_detected!("fma") {
            return "avx2+fma";
        }
    }
    if cfg!(target_arch = "aarch64") {
        return "neon";
    }
    "scalar"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize, step: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * step) % 17) as f32 - 8.0).collect()
    }

    fn naive(a: &Matrix, b: &Matrix, before: &[f32]) -> Vec<f32> {
        let mut out = before.to_vec();
        for i in 0..a.rows {
            for j in 0..b.columns {
                for p in 0..a.columns {
                    out[i * b.columns + j] += a.values[i * a.row_stride + p * a.column_stride]
                        * b.values[p * b.row_stride + j * b.column_stride];
                }
            }
        }
        out
    }

    #[test]
    fn every_shape_and_layout_agrees_with_three_loops() {
        for (m, n, k) in [
            (1, 1, 1),
            (1, 2, 64),
            (3, 7, 5),
            (33, 2, 128),
            (64, 30, 1),
            (17, 19, 2),
            (1, 40, 33),
        ] {
            let (a, b) = (numbers(m * k, 7), numbers(k * n, 5));
            let lefts = [Matrix::new(&a, m, k), Matrix::new(&a, k, m).transposed()];
            let rights = [Matrix::new(&b, k, n), Matrix::new(&b, n, k).transposed()];
            for (a, b) in lefts
                .iter()
                .flat_map(|a| rights.iter().map(move |b| (a, b)))
            {
                for (accumulate, before) in [(false, vec![0.0; m * n]), (true, numbers(m * n, 3))] {
                    let mut out = if accumulate {
                        before.clone()
                    } else {
                        vec![f32::NAN; m * n]
                    };
                    multiply(*a, *b, accumulate, &mut out);
                    // small integers: every order of additions is exact
                    assert_eq!(out, naive(a, b, &before), "{m} {n} {k} {accumulate}");
                }
            }
        }
    }

    #[test]
    fn an_empty_sum_is_zero() {
        let mut out = [5.0];
        multiply(
            Matrix::new(&[], 1, 0),
            Matrix::new(&[], 0, 1),
            true,
            &mut out,
        );
        assert_eq!(out, [5.0]);
        multiply(
            Matrix::new(&[], 1, 0),
            Matrix::new(&[], 0, 1),
            false,
            &mut out,
        );
        assert_eq!(out, [0.0]);
    }

    #[test]
    #[should_panic(expected = "2 rows of 3 values")]
    fn a_slice_of_another_length_is_refused() {
        let _ = Matrix::new(&[0.0; 5], 2, 3);
    }

    #[test]
    #[should_panic(expected = "an output of 1 rows of 1 values")]
    fn a_short_output_is_refused() {
        multiply(
            Matrix::new(&[1.0], 1, 1),
            Matrix::new(&[1.0], 1, 1),
            false,
            &mut [],
        );
    }
}
