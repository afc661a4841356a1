@testable import SoftMetal

/// Shader texts for the front end's tests, as the preprocessor leaves them.
enum MSLSamples {
  static let everything = """
    # 1 "program_source"
    using namespace metal ;
    typedef struct { int32_t rows ; uint64_t stride ; float scale ; half4 tint [ 2 ] ; } args_t ;
    struct pair { float2 xy ; float ab ; float sum ( ) const thread { return xy . x + ab ; }
      float sum ( ) const device { return xy . x + ab ; } } ;
    enum { base = 600 , next } ;
    constant int width [[ function_constant ( base + 2 ) ]] ;
    constant bool has_bias [[ function_constant ( next ) ]] ;
    constant bool add_bias = is_function_constant_defined ( has_bias ) ? has_bias : false ;
    constant float table [ 3 ] = { 1.0 , .5 , 2e-1 } ;
    template < typename T > inline T twice ( T x ) { return x * static_cast < T > ( 2.0 ) ; }
    template < typename T , int N = 4 >
    kernel [[ max_total_threads_per_threadgroup ( N * 32 ) ]] void scale (
      constant args_t & args , device const T * in [[ buffer ( 2 ) ]] , device T * out ,
      device const float * bias [[ buffer ( 7 ) , function_constant ( add_bias ) ]] ,
      threadgroup float * shared [[ threadgroup ( 1 ) ]] , threadgroup float * more ,
      uint2 at [[ thread_position_in_grid ]] , ushort lane [[ thread_index_in_simdgroup ]] ) {
      threadgroup vec < T , 4 > tile [ N ] , last ;
      threadgroup T * pointer = ( threadgroup T * ) shared ;
      float4 v = float4 ( table [ 0 ] , 1.0 , 0.5h , 0x1.8p1 ) ; v . xy += v . wz ;
      pair p = { v . xy , 3 } ; p . xy = p . xy . yx ;
      if ( lane == 0 ) pointer [ at . x ] = T ( v . x ) ; else tile [ 0 ] . x ++ ;
      for ( int i = 0 ; i < width ; i ++ ) last [ i ] = T ( i ) ;
      threadgroup_barrier ( mem_flags :: mem_threadgroup ) ;
      out [ at . x ] = twice ( in [ at . x ] ) + ( add_bias ? T ( bias [ 0 ] ) : T ( p . sum ( ) ) ) ;
    }
    template [[ host_name ( "scale_f32" ) ]] kernel decltype ( scale < float > ) scale < float > ;
    template [[ host_name ( "scale_f16" ) ]] kernel void scale < half , 2 > ( constant args_t & , device const half * ) ;
    namespace other { [[ kernel ]] void plain ( device pair * p , uint i [[ thread_position_in_grid ]] ) { p [ i ] . ab = 1 ; } }
    """

  static func module(_ text: String, _ version: MTLLanguageVersion = .version3_2) throws -> ShaderModule {
    try ShaderModule(preprocessed: text, languageVersion: version)
  }

  static func value(_ index: Int, _ value: Int32) -> ConstantValue {
    ConstantValue(index: index, type: .int, bytes: withUnsafeBytes(of: value) { Array($0) })
  }

  static func value(_ index: Int, _ value: Bool) -> ConstantValue {
    ConstantValue(index: index, type: .bool, bytes: [value ? 1 : 0])
  }
}
